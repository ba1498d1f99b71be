"""Data sets over HTTP: checked again, renamed, deleted, with statistics and sample images."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from detection.data.coco import check_dataset
from detection.data.shapes import make_shapes
from searchd.domain.lifecycle import DatasetStatus, WorkKind
from searchd.spec import DatasetImport
from searchd.store import Database
from searchd.store.resources import datasets
from searchd.store.work import queue
from tests.api.service import Service
from tests.searchd.store.factories import add_dataset, add_pool, add_search, dataset_spec, leased


@pytest.fixture
def shapes(database: Database, tmp_path: Path) -> str:
    """A data set of three train images and one validation image that was really checked."""
    spec = make_shapes(tmp_path / "shapes", num_train=3, num_validation=1, image_size=64)
    with database.write() as session:
        row = datasets.create(session, spec)
    with leased(database, f"dataset_check-{row.id}") as (session, lease):
        summary = json.loads(json.dumps(asdict(check_dataset(spec))))
        datasets.record_ready(session, lease, summary)
    return row.name


def test_statistics_are_those_of_the_check(http: httpx.Client, shapes: str) -> None:
    found = http.get(f"/datasets/{shapes}/statistics").json()

    assert (found["splits"]["train"]["images"], found["splits"]["validation"]["images"]) == (3, 1)
    counts = [by_split["train"] for by_split in found["classes"].values()]
    assert sum(counts) == found["splits"]["train"]["objects"]
    assert found["duplicates"]["in_two_splits"] == 1  # the same id and file name


def test_samples_are_listed_and_drawn(http: httpx.Client, shapes: str) -> None:
    samples = http.get(f"/datasets/{shapes}/samples").json()["samples"]
    drawn = http.get(f"/datasets/{shapes}/samples/0/image")
    plain = Image.open(samples[0]["path"])
    image = Image.open(io.BytesIO(drawn.content))

    assert [each["split"] for each in samples] == ["train", "train", "train", "validation"]
    assert len(samples[0]["objects"]) == samples[0]["num_objects"] >= 1
    assert (drawn.headers["content-type"], image.format) == ("image/jpeg", "JPEG")
    assert image.size == plain.size == (64, 64)
    x, y, width, height = samples[0]["objects"][0]["bbox"]
    on_edge = (round(x + width / 2), min(63, round(y + height)))
    assert image.convert("RGB").getpixel(on_edge) != plain.convert("RGB").getpixel(on_edge)
    assert http.get(f"/datasets/{shapes}/samples/4/image").status_code == 404
    assert http.get(f"/datasets/{shapes}/samples/0/image?max_side=9999").status_code == 422


def test_sample_whose_file_is_gone_is_a_conflict(http: httpx.Client, shapes: str) -> None:
    sample = http.get(f"/datasets/{shapes}/samples").json()["samples"][0]
    Path(sample["path"]).unlink()

    refused = http.get(f"/datasets/{shapes}/samples/0/image")

    assert refused.status_code == 409
    assert "the image is missing" in refused.json()["detail"]


def test_data_set_that_is_not_checked_has_no_statistics(
    http: httpx.Client, database: Database
) -> None:
    add_dataset(database, ready=False)

    for what in ("statistics", "samples", "samples/0/image"):
        refused = http.get(f"/datasets/shapes/{what}")
        assert (refused.status_code, "is checking" in refused.json()["detail"]) == (409, True)


def test_data_set_is_rechecked_renamed_and_deleted(http: httpx.Client, database: Database) -> None:
    add_dataset(database)

    checked = http.post("/datasets/shapes/recheck")
    renamed = http.patch("/datasets/shapes", json={"name": "forms"})
    deleted = http.delete("/datasets/forms")

    assert (checked.status_code, checked.json()["status"]) == (202, "checking")
    assert (renamed.status_code, renamed.json()["spec"]["name"]) == (200, "forms")
    assert (deleted.status_code, http.get("/datasets/forms").status_code) == (204, 404)
    assert http.patch("/datasets/forms", json={"name": "no spaces"}).status_code == 422


def test_used_data_set_is_not_deleted(http: httpx.Client, database: Database) -> None:
    add_search(database)

    refused = http.delete("/datasets/shapes")

    assert refused.status_code == 409
    assert "pool 'teachers', search 'first'" in refused.json()["detail"]


def test_deletion_removes_the_files_that_the_check_wrote(
    http: httpx.Client, database: Database, tmp_path: Path
) -> None:
    request = DatasetImport(name="mine", paths=(tmp_path / "mine",))
    spec = request.stored_below(str(tmp_path / "artifacts"))
    spec.train.annotations.parent.mkdir(parents=True)
    spec.train.annotations.write_text("{}")
    (tmp_path / "mine").mkdir()
    with database.write() as session:
        datasets.create(session, spec)

    assert http.delete("/datasets/mine").status_code == 204
    assert not spec.train.annotations.parent.exists()
    assert (tmp_path / "mine").exists()


def test_records_of_the_check_cannot_be_given(http: httpx.Client) -> None:
    body = dataset_spec().model_dump(mode="json")
    body["train"]["sha256"] = "a" * 64

    refused = http.post("/datasets", json=body)

    assert (refused.status_code, "the check records them" in refused.text) == (422, True)


def test_failed_pool_is_deleted_so_that_its_data_set_can_be(
    http: httpx.Client, database: Database
) -> None:
    add_dataset(database)
    pool = add_pool(database, ready=False)
    assert http.delete("/pools/teachers").status_code == 409
    with leased(database, f"{WorkKind.POOL}-{pool}") as (session, lease):
        queue.give_up(session, lease, "unschedulable")

    assert http.delete("/pools/teachers").status_code == 204
    assert http.delete("/datasets/shapes").status_code == 204


def test_commands_show_samples_and_statistics(
    shapes: str, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCHD_URL", service.url)
    run = CliRunner().invoke

    stats = run(app, ["dataset", "stats", shapes])
    drawn = run(app, ["dataset", "samples", shapes, "--output", str(tmp_path / "drawn")])
    shown = run(app, ["dataset", "show", shapes])
    renamed = run(app, ["dataset", "rename", shapes, "forms"])
    deleted = run(app, ["dataset", "delete", "forms"])

    assert "images in two splits: 1" in stats.stdout
    assert "TRAIN" in stats.stdout
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert names == ["train-0.jpg", "train-1.jpg", "train-2.jpg", "validation-3.jpg"]
    assert "train-0.jpg" in drawn.stdout
    assert "3 images" in shown.stdout
    assert "{" not in shown.stdout
    assert "forms" in renamed.stdout
    assert deleted.stdout == "deleted data set forms\n"


def test_refused_data_set_is_added_again(http: httpx.Client, database: Database) -> None:
    first = add_dataset(database, ready=False)
    with leased(database, f"{WorkKind.DATASET_CHECK}-{first}") as (session, lease):
        queue.finish(session, lease, DatasetStatus.FAILED, "no images")

    added = http.post("/datasets", json=dataset_spec().model_dump(mode="json"))

    assert (added.status_code, added.json()["status"]) == (201, "checking")
    assert added.json()["id"] != first
