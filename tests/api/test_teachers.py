"""Teachers over HTTP: registered, found, listed, followed."""

from pathlib import Path

import httpx
import pytest

from api.client import Client
from api.data_roots import check_teacher
from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import TeacherStatus
from searchd.spec import MmdetSpec
from searchd.store import Database
from searchd.store.resources import teachers
from searchd.store.work import queue
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    artifact,
    base_proposal,
    leased,
    run_trial,
    start_search,
    subnet_teacher,
    teacher_progress,
    teacher_report,
    teacher_spec,
    trained_teacher,
)


def _evaluate(database: Database, teacher_id: str) -> None:
    with leased(database, f"teacher-{teacher_id}") as (session, lease):
        teachers.record_report(session, lease, teacher_report())


def test_a_registered_teacher_is_found_where_location_says(
    http: httpx.Client, database: Database
) -> None:
    add_dataset(database)
    response = http.post("/teachers", json=teacher_spec().model_dump(mode="json"))
    created = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/api/v1/teachers/{created['id']}"
    assert created["source"] == "mmdet retinanet_swin-t-p4-w7_fpn_1x_coco"
    assert (created["status"], created["measurement"], created["levels"]) == ("checking", None, [])
    assert http.get(f"/teachers/{created['id']}").json() == created
    assert http.get("/teachers/swin").json() == created


def test_an_evaluated_teacher_shows_what_was_measured(client: Client, database: Database) -> None:
    add_dataset(database)
    _evaluate(database, client.create_teacher(teacher_spec()).id)
    found = client.wait_for_teacher("swin")
    assert found.status is TeacherStatus.READY
    assert found.kind == "retinanet_swin-t-p4-w7_fpn_1x_coco"
    assert found.params == 38_474_170
    assert found.measurement is not None
    assert (found.measurement.ap, found.measurement.ap75, found.measurement.macs) == (
        0.5,
        0.55,
        2e9,
    )
    assert str(found.measurement.resolution) == "96x96"
    assert [(level.stride, level.channels) for level in found.levels] == [(8, 256), (16, 256)]
    assert found.weights is not None
    assert found.weights.uri == artifact("teacher").uri


def test_subnets_and_students_are_teachers_too(client: Client, database: Database) -> None:
    _, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal())
    subnet = client.create_teacher(subnet_teacher())
    student = client.create_teacher(teacher_spec("student", trial=trial.id, mmdet=None))
    assert subnet.source == "subnet d2-2-2-2 w1/1/1/1 n256 of pool teachers"
    assert student.source == f"student of trial {trial.id}"
    assert (subnet.pool_id is None, student.pool_id) == (False, None)


def test_teachers_are_listed_by_status(client: Client, database: Database) -> None:
    add_dataset(database)
    _evaluate(database, client.create_teacher(teacher_spec("one")).id)
    client.create_teacher(teacher_spec("two"))
    assert [teacher.name for teacher in client.list_teachers()] == ["two", "one"]
    (ready,) = client.list_teachers(status="ready")
    assert (ready.name, ready.measurement and ready.measurement.ap) == ("one", 0.5)


def test_lists_are_paged(http: httpx.Client, client: Client, database: Database) -> None:
    add_dataset(database)
    for name in ("a", "b", "c"):
        client.create_teacher(teacher_spec(name))
    first = http.get("/teachers", params={"page_size": 2}).json()
    rest = http.get("/teachers", params={"page_token": first["next_page_token"]}).json()
    assert [item["name"] for item in first["items"]] == ["c", "b"]
    assert [item["name"] for item in rest["items"]] == ["a"]


def test_a_repeated_request_registers_nothing_new(client: Client, database: Database) -> None:
    add_dataset(database)
    first = client.create_teacher(teacher_spec(), key="k")
    assert client.create_teacher(teacher_spec(), key="k") == first


def test_validate_only_registers_nothing(http: httpx.Client, database: Database) -> None:
    add_dataset(database)
    body = teacher_spec().model_dump(mode="json")
    response = http.post("/teachers", json=body, params={"validate_only": True})
    assert (response.status_code, response.json()) == (200, {"warnings": []})
    assert http.get("/teachers").json()["items"] == []


def test_events_tell_why_a_teacher_failed(client: Client, database: Database) -> None:
    add_dataset(database)
    teacher = client.create_teacher(teacher_spec())
    with leased(database, f"teacher-{teacher.id}") as (session, lease):
        queue.finish(session, lease, TeacherStatus.FAILED, "CheckpointError: no such file")
    events = [(event.status, event.message) for event in client.teacher_events("swin")]
    assert events[0] == ("checking", "waits to be loaded and evaluated")
    assert events[2] == ("failed", "CheckpointError: no such file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mmdet": None}, "give exactly one of subnet, trial, mmdet and train"),
        ({"trial": "s-abcdef-0"}, "give exactly one of subnet, trial, mmdet and train"),
        ({"trial": "base", "mmdet": None}, "must be the id of a trial"),
        ({"resolution": "0x800"}, "must be positive"),
        ({"gpus": -1}, "gpus: must be at least 0, not -1"),
    ],
)
def test_a_broken_spec_is_refused_with_the_rule(
    change: dict[str, object], message: str, http: httpx.Client
) -> None:
    body = teacher_spec().model_dump(mode="json") | change
    response = http.post("/teachers", json=body)
    assert response.status_code == 422
    assert message in response.text


def test_what_a_teacher_refers_to_must_exist(http: httpx.Client, database: Database) -> None:
    add_dataset(database)
    body = subnet_teacher().model_dump(mode="json")
    assert (
        "subnet.pool: pool 'teachers' does not exist"
        in http.post("/teachers", json=body).json()["detail"]
    )
    add_pool(database)
    assert http.post("/teachers", json=body).status_code == 201
    assert http.get("/teachers/unknown").status_code == 404


def test_checkpoints_must_lie_below_the_data_roots() -> None:
    inside, outside = Path("/data/swin.pth"), Path("/etc/swin.pth")
    specs = [
        teacher_spec(mmdet=MmdetSpec(config="retinanet_r50_fpn_1x_coco", checkpoint=path))
        for path in (inside, outside)
    ]
    check_teacher(specs[0], (Path("/data"),))
    check_teacher(subnet_teacher(), (Path("/data"),))
    with pytest.raises(
        InvalidValueError, match=r"mmdet.checkpoint: '/etc/swin.pth' must be an abs"
    ):
        check_teacher(specs[1], (Path("/data"),))
    started = trained_teacher(train={"mmdet": {"config": "a", "checkpoint": "/etc/swin.pth"}})
    with pytest.raises(InvalidValueError, match=r"train.mmdet.checkpoint: '/etc/swin.pth' must be"):
        check_teacher(started, (Path("/data"),))
    check_teacher(trained_teacher(), (Path("/data"),))


def test_a_training_is_followed_paused_and_cancelled(client: Client, database: Database) -> None:
    add_dataset(database)
    created = client.create_teacher(trained_teacher())
    assert (created.status, created.epochs, created.desired) == (TeacherStatus.QUEUED, [], "run")
    assert created.source == "mmdet faster-rcnn_r101_fpn_1x_coco, training of 3 epochs"
    with leased(database, f"teacher_training-{created.id}") as (session, lease):
        queue.advance(session, lease, TeacherStatus.TRAINING, "its driver has started")
        teachers.record_progress(session, lease, teacher_progress())
    found = client.ask_of_teacher("strong", "pause")
    assert (found.status, found.desired) == (TeacherStatus.TRAINING, "pause")
    assert found.progress is not None
    assert (found.progress.epoch, found.progress.losses) == (2, {"loss": 0.4})
    assert [(epoch.epoch, epoch.losses) for epoch in found.epochs] == [(1, {"loss": 0.5})]
    with database.write() as session:
        queue.stopped(session, lease)
    assert client.ask_of_teacher("strong", "cancel").status is TeacherStatus.CANCELLED
    assert [epoch.epoch for epoch in client.get_teacher("strong").epochs] == [1]


def test_a_check_cannot_be_paused(http: httpx.Client, client: Client, database: Database) -> None:
    add_dataset(database)
    client.create_teacher(teacher_spec())
    response = http.post("/teachers/swin/pause")
    assert response.status_code == 409
    assert "swin cannot be paused; its check ends by itself" in response.json()["detail"]
