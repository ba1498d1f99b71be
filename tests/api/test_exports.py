"""Exports of detectors over HTTP: requested, repeated, listed, downloaded."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from api.client import ApiError, Client
from searchd import artifacts
from searchd.domain.architecture import preset
from searchd.domain.lifecycle import ExportStatus
from searchd.domain.resolution import Resolution
from searchd.spec import ExportSpec
from searchd.store import Database
from searchd.store.resources import exports
from searchd.store.runs import retention
from searchd.store.work import queue
from tests.api.service import Service
from tests.searchd.store.factories import (
    LARGE,
    base_proposal,
    detector,
    export_report,
    leased,
    run_trial,
    start_search,
    succeeded,
)


@pytest.fixture
def trial(database: Database) -> str:
    """The id of a finished trial."""
    _, lease = start_search(database)
    return run_trial(database, lease, base_proposal()).id


def test_a_request_is_found_where_location_says(http: httpx.Client, trial: str) -> None:
    response = http.post(f"/detectors/{trial}/exports", json={"format": "onnx"})
    created = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/api/v1/detectors/{trial}/exports/{created['id']}"
    assert (created["name"], created["status"]) == (f"{trial}-onnx-fp32-dynamic", "exporting")
    assert (created["files"], created["measurement"]) == ([], None)
    assert http.get(f"/detectors/{trial}/exports/{created['id']}").json() == created
    assert http.get(f"/detectors/{trial}/exports/{created['name']}").json() == created


def test_a_repeated_request_creates_nothing(client: Client, trial: str) -> None:
    first = client.create_export(trial, ExportSpec())
    other = client.create_export(trial, ExportSpec(input=Resolution(640, 480)))

    assert client.create_export(trial, ExportSpec()).id == first.id
    assert [each.id for each in client.list_exports(trial)] == [first.id, other.id]
    assert other.spec.size == Resolution(640, 480)


def test_a_failed_export_is_tried_again(client: Client, database: Database, trial: str) -> None:
    first = client.create_export(trial, ExportSpec())
    with leased(database, f"export-{first.id}") as (session, lease):
        queue.finish(session, lease, ExportStatus.FAILED, "a.png: only the export finds class 0")
    failed = client.get_export(trial, first.id)
    assert failed.status_reason == "a.png: only the export finds class 0"

    again = client.create_export(trial, ExportSpec())

    assert (again.status, again.id == first.id) == (ExportStatus.EXPORTING, False)
    assert [each.id for each in client.list_exports(trial)] == [again.id]


def test_the_files_of_a_ready_export_are_downloaded(
    client: Client, database: Database, trial: str, tmp_path: Path
) -> None:
    export = client.create_export(trial, ExportSpec())
    with pytest.raises(ApiError, match="is exporting: waits to be written"):
        client._call("GET", f"/detectors/{trial}/exports/{export.id}/files/model")
    model = artifacts.write(str(tmp_path / "store" / "model.onnx"), b"graph", name="model")
    with leased(database, f"export-{export.id}") as (session, lease):
        exports.record_report(session, lease, export_report(model))

    ready = client.get_export(trial, export.id)
    (path,) = client.download_export(ready, tmp_path)

    assert ready.status is ExportStatus.READY
    assert ready.measurement is not None
    assert (ready.measurement.ap, ready.measurement.torch_ap) == (0.5, 0.5)
    assert (path.name, path.read_bytes()) == ("model.onnx", b"graph")
    with pytest.raises(ApiError, match="has no file 'weights'; it has: model"):
        client._call("GET", f"/detectors/{trial}/exports/{export.id}/files/weights")


def test_an_export_is_deleted_with_its_files(
    http: httpx.Client, client: Client, database: Database, service: Service, trial: str
) -> None:
    export, other = (
        client.create_export(trial, ExportSpec(input=size)) for size in ("dynamic", LARGE)
    )
    for each in (export, other):
        folder = service.artifacts / "exports" / each.id / "attempt-1"
        model = artifacts.write(str(folder / "model.onnx"), b"graph", name="model")
        with leased(database, f"export-{each.id}") as (session, lease):
            exports.record_report(session, lease, export_report(model))
    assert http.get(f"/exports/{export.name}").json()["id"] == export.id

    deleted = http.delete(f"/exports/{export.id}")

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert http.get(f"/exports/{export.id}").status_code == 404
    assert [each.id for each in client.list_exports(trial)] == [other.id]
    stored = [path.name for path in (service.artifacts / "exports").iterdir()]
    assert (export.id in stored, other.id in stored) == (False, True)
    again = client.create_export(trial, ExportSpec())
    assert again.status is ExportStatus.EXPORTING


def test_an_export_that_runs_is_not_deleted(
    http: httpx.Client, client: Client, database: Database, trial: str
) -> None:
    export = client.create_export(trial, ExportSpec())
    with leased(database, f"export-{export.id}"):
        pass

    refused = http.delete(f"/exports/{export.name}")

    assert (refused.status_code, "is being written; wait until" in refused.text) == (409, True)
    assert client.find_export(export.id).status is ExportStatus.EXPORTING


def test_a_trial_that_is_being_exported_keeps_its_weights(
    client: Client, database: Database, trial: str
) -> None:
    client.create_export(trial, ExportSpec())

    with database.read() as session:
        assert retention._wanted(session, [trial]) == {trial}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"format": "tflite"}, "format"),
        ({"input": "8x8"}, "input=8x8 is too small; both sides must have 32 pixels or more"),
        ({"input": "big"}, "input"),
        ({"colour": 1}, "colour"),
    ],
)
def test_illegal_requests_are_refused_with_the_field(
    http: httpx.Client, trial: str, body: dict[str, object], text: str
) -> None:
    response = http.post(f"/detectors/{trial}/exports", json=body)
    assert response.status_code == 422
    assert text in response.text


def test_deformable_convolutions_are_refused_at_once_except_for_mmdet(
    http: httpx.Client, database: Database
) -> None:
    plain = preset("resnet18")
    block = replace(plain.stages[3][0], deformable=True)
    architecture = plain.with_stage(4, (block, *plain.stages[3][1:]))
    changed = replace(succeeded("base"), detector=replace(detector(), architecture=architecture))
    _, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal(), changed).id

    refused = http.post(f"/detectors/{trial}/exports", json={"format": "openvino"})
    accepted = http.post(f"/detectors/{trial}/exports", json={"format": "mmdet"})

    assert (refused.status_code, accepted.status_code) == (422, 201)
    assert "format=openvino has no deformable convolutions" in refused.json()["detail"]
    assert "use format=mmdet" in refused.json()["detail"]
    assert len(http.get(f"/detectors/{trial}/exports").json()) == 1


def test_what_does_not_exist_is_named(http: httpx.Client, trial: str) -> None:
    assert http.post("/detectors/s-none-1/exports", json={}).status_code == 404
    assert http.get("/detectors/s-none-1/exports").status_code == 404
    assert http.delete("/exports/x-none").status_code == 404
    missing = http.get(f"/detectors/{trial}/exports/x-none")
    assert (missing.status_code, f"trial {trial} has no export 'x-none'" in missing.text) == (
        404,
        True,
    )
