"""The web page in a real browser: it draws what the API answers."""

import json
import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from detection.data.coco import check_dataset
from detection.data.shapes import make_shapes
from searchd.store.resources import datasets, teachers
from tests.api.service import serve
from tests.searchd.store import factories

BROWSER = shutil.which("chromium")


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_the_page_shows_searches_distillations_and_teachers(tmp_path: Path) -> None:
    with serve(tmp_path) as service:
        _, lease = factories.start_search(service.database)
        factories.run_trial(service.database, lease, factories.base_proposal())
        factories.run_trial(service.database, lease, factories.search_proposal(0))
        factories.add_distillation(
            service.database, "mtpd", student={"trial": f"{lease.work_id.partition('-')[2]}-base"}
        )
        with service.database.write() as session:
            teachers.create(session, factories.teacher_spec())

        shown = _text_of(f"{service.url}/")

    assert "first running base trained" in shown
    assert (
        "What it gained The best detector is trial 0. Against the base at 96x96: +0.0 points"
        in shown
    )
    assert "The search is running; this report is provisional." in shown
    assert shown.count("96x96 against 96x96") == 1, "its own best is at the resolution of the best"
    assert re.search(r"mtpd queued waits for admission s-\w+-base", shown)
    assert "swin checking waits to be loaded and evaluated mmdet retinanet_swin" in shown
    assert "first, trial base at 96x96: AP 50.0 %, 2.00 GMACs" in shown


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_the_page_shows_a_data_set_with_its_statistics(tmp_path: Path) -> None:
    spec = make_shapes(tmp_path / "shapes", num_train=3, num_validation=1, image_size=64)
    with serve(tmp_path) as service:
        with service.database.write() as session:
            row = datasets.create(session, spec)
        summary = json.loads(json.dumps(asdict(check_dataset(spec))))
        with factories.leased(service.database, f"dataset_check-{row.id}") as (session, lease):
            datasets.record_ready(session, lease, summary)

        shown = _text_of(f"{service.url}/#dataset/shapes")

    assert "Data set shapes" in shown
    assert re.search(r"circle train \d+, validation \d+", shown)
    assert re.search(r"validation: 000000.png, \d+ objects", shown)


def _text_of(url: str) -> str:
    """What is on the page after some seconds, without its tags."""
    assert BROWSER is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=6000"]
    page = subprocess.run(
        [BROWSER, *options, "--dump-dom", url], capture_output=True, text=True, timeout=90
    )
    assert page.returncode == 0, page.stderr
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.stdout))
