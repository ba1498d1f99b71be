"""What the page of a detector tells behind its AP: classes, errors, predictions, the log."""

import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from api.schemas.trial_logs import LogLine
from detection.data.inspection import check_dataset
from detection.data.shapes import make_shapes
from searchd import artifacts
from searchd.domain.trial import Artifact
from searchd.messages.codecs import SAMPLE_PREDICTIONS
from searchd.messages.files import LOG_FILE, attempt_folder
from searchd.messages.predictions import PredictedBox, PredictedImage, SamplePredictions
from searchd.store import Database, Lease
from searchd.store.models import DatasetRow
from searchd.store.resources import exports
from tests.api.service import Service
from tests.browser import card
from tests.searchd.store import factories

pytestmark = pytest.mark.timeout(300)  # starts a browser


def stored(file: Path, image: str, *boxes: PredictedBox) -> tuple[Artifact]:
    """The detections on one sample image, as a trial's artifact."""
    found = SamplePredictions(
        resolution=factories.LARGE, images=(PredictedImage(path=image, boxes=boxes),)
    )
    data = SAMPLE_PREDICTIONS.dump_json(found)
    return (artifacts.write(str(file), data, name="predictions"),)


def test_a_detector_shows_its_classes_errors_and_predictions_beside_its_base(
    service: Service, database: Database, page: Page, tmp_path: Path
) -> None:
    spec = make_shapes(tmp_path / "data", num_train=1, num_validation=2, image_size=64)
    samples = [asdict(each) for each in check_dataset(spec).samples]
    shown = next(each for each in samples if each["split"] == "validation")
    search, lease = factories.start_search(database)
    with database.write() as session:
        session.get_one(DatasetRow, search.dataset_id).samples = {"samples": samples}
    found = shown["objects"][0]
    right = PredictedBox(class_name=found["class_name"], score=0.9, bbox=found["bbox"])
    wrong = PredictedBox(class_name="ring", score=0.6, bbox=(0, 0, 9, 9))
    faint = replace(wrong, score=0.2)
    base = factories.with_breakdown(factories.succeeded("base"))
    base = replace(base, artifacts=stored(tmp_path / "base.json", shown["path"], wrong))
    own = factories.with_breakdown(factories.succeeded("0"))
    own = replace(own, artifacts=stored(tmp_path / "own.json", shown["path"], right, faint))
    factories.run_trial(database, lease, factories.base_proposal(), base)
    trial = factories.run_trial(database, lease, factories.search_proposal(0), own)

    page.goto(f"{service.url}/#/detectors/{trial.id}")

    classes = card(page, "AP by class")
    expect(classes.get_by_role("row").filter(has_text="circle")).to_contain_text("75.0")
    measured = card(page, "Measured on the validation split")
    measured.get_by_text("Average recall, and AP at other thresholds").click()
    further = measured.get_by_role("table").nth(1)
    expect(further.get_by_role("row").nth(1)).to_have_text(
        re.compile("64x64.*58.0.*20.0.*30.0.*55.0.*61.0.*–.*50.0.*70.0")
    )
    errors = card(page, "Kinds of error (TIDE)")
    expect(errors.get_by_role("row").filter(has_text="missed")).to_contain_text("2.0 · 3")
    expect(errors).to_contain_text("on 40 images of the validation split")
    predictions = card(page, "Predictions on sample images")
    missed = len(shown["objects"]) - 1
    panel = predictions.get_by_role("img", name=f"This detector: 1 found, {missed} missed, 0 wrong")
    expect(panel).to_be_visible()
    expect(predictions.get_by_role("img", name="Base: 0 found")).to_be_visible()
    predictions.get_by_role("slider").fill("0.1")
    expect(predictions.get_by_role("img", name="This detector: 1 found")).to_have_attribute(
        "alt", f"This detector: 1 found, {missed} missed, 1 wrong"
    )


def test_an_export_is_deleted_after_a_confirmation(
    service: Service, database: Database, lease: Lease, page: Page
) -> None:
    trial = f"{lease.work_id.partition('-')[2]}-0"
    exports_of = f"{service.url}/api/v1/detectors/{trial}/exports"
    made = page.request.post(exports_of, data={"format": "onnx"}).json()
    with factories.leased(database, f"export-{made['id']}") as (session, work):
        exports.record_report(session, work, factories.export_report())
    page.goto(f"{service.url}/#/detectors/{trial}")
    shown = card(page, "Exports")
    expect(shown).to_contain_text("onnx fp32, dynamic")

    shown.get_by_role("button", name=f"Delete the export {made['name']}").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()

    expect(shown).to_contain_text("None yet.")
    assert page.request.get(exports_of).json() == []


def test_the_log_of_each_attempt_is_read(service: Service, lease: Lease, page: Page) -> None:
    run = lease.work_id.partition("-")[2]
    lines = [
        LogLine(
            line=number,
            at=datetime(2026, 1, 1, tzinfo=UTC),
            level="WARNING" if number == 2 else "INFO",
            logger="workers",
            message=f"line {number} was logged",
        )
        for number in (1, 2, 3)
    ]
    folder = attempt_folder(str(service.artifacts), run, "0", 1)
    content = "\n".join(line.model_dump_json() for line in lines).encode()
    artifacts.write(artifacts.join(folder, LOG_FILE), content, name="log")

    page.goto(f"{service.url}/#/detectors/{run}-0")

    log = card(page, "Log")
    expect(log).to_contain_text("line 3 was logged")
    log.get_by_role("combobox", name="Show").select_option("warnings and errors")
    expect(log).not_to_contain_text("line 3 was logged")
    expect(log).to_contain_text("line 2 was logged")


def test_the_front_of_one_class_is_drawn_on_demand(
    service: Service, database: Database, page: Page
) -> None:
    _, lease = factories.start_search(database)
    report = factories.with_breakdown(factories.succeeded("base"))
    factories.run_trial(database, lease, factories.base_proposal(), report)
    page.goto(f"{service.url}/#/searches/first")

    page.get_by_role("combobox", name="Accuracy").select_option("AP of square")

    plot = page.get_by_role("img", name="2 detectors by GMACs per image and AP of square, %")
    expect(plot).to_be_visible()
    new = factories.with_breakdown(factories.succeeded("0"))
    factories.run_trial(database, lease, factories.search_proposal(0), new)
    expect(
        page.get_by_role("img", name="4 detectors by GMACs per image and AP of square, %")
    ).to_be_visible()
