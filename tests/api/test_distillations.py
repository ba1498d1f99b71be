"""Distillations over HTTP: submitted, planned, followed, compared, stopped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.auth import Rules
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import FinalSplit
from searchd.store import Database, Role
from searchd.store.resources import tokens
from searchd.store.work import queue
from tests.api.service import serve
from tests.searchd.store.distillation_factory import (
    COSTS,
    add_stage,
    choose_order,
    measure_sweep,
    run_base,
    run_control,
    run_stage,
    run_sweep,
    start_distillation,
)
from tests.searchd.store.factories import (
    add_dataset,
    add_distillation,
    add_pool,
    base_proposal,
    distillation_spec,
    run_trial,
    start_search,
)


@pytest.fixture
def ready(database: Database) -> Database:
    """With a data set "shapes" and a pool "teachers"."""
    add_dataset(database)
    add_pool(database)
    return database


def _body(name: str = "mtpd", **changes: Any) -> dict[str, Any]:
    return distillation_spec(name, **changes).model_dump(mode="json")


def _get(http: httpx.Client, name: str = "mtpd") -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"/distillations/{name}").json()
    return found


@pytest.mark.usefixtures("ready")
def test_a_created_distillation_is_found_where_location_says(http: httpx.Client) -> None:
    response = http.post("/distillations", json=_body())
    assert response.status_code == 201
    created = response.json()
    assert response.headers["location"] == f"/api/v1/distillations/{created['id']}"
    assert (created["status"], created["desired"]) == ("queued", "run")
    assert (created["origin_id"], created["order"], created["comparison"]) == (None, [], None)
    assert _get(http) == _get(http, created["id"]) == created


@pytest.mark.usefixtures("ready")
def test_a_repeated_request_creates_nothing_new(http: httpx.Client) -> None:
    key = {"Idempotency-Key": "4711"}
    first = http.post("/distillations", json=_body(), headers=key).json()
    assert http.post("/distillations", json=_body(), headers=key).json() == first
    other = http.post("/distillations", json=_body("other"), headers=key)
    assert (other.status_code, "with another body" in other.json()["detail"]) == (409, True)


@pytest.mark.usefixtures("ready")
def test_validate_only_creates_nothing(http: httpx.Client) -> None:
    response = http.post("/distillations", json=_body(), params={"validate_only": True})
    assert (response.status_code, response.json()) == (200, {"warnings": []})
    assert http.get("/distillations").json()["items"] == []


def test_distillations_and_searches_are_listed_apart(http: httpx.Client, ready: Database) -> None:
    start_search(ready)
    add_distillation(ready)
    assert [each["name"] for each in http.get("/distillations").json()["items"]] == ["mtpd"]
    assert [each["name"] for each in http.get("/searches").json()["items"]] == ["first"]
    assert http.get("/distillations", params={"status": "failed"}).json()["items"] == []
    assert http.get("/searches/mtpd").status_code == 404
    assert http.get("/distillations/first").status_code == 404


@pytest.mark.usefixtures("ready")
def test_candidates_are_known_before_they_are_compared(http: httpx.Client) -> None:
    http.post("/distillations", json=_body())
    assert _get(http)["teachers"] == [
        {"name": "largest", "source": "subnet d3-4-23-3 w1.5/1.5/1.5/1.5 n384", "ap": None},
        {"name": "smallest", "source": "subnet d2-2-2-2 w1/1/1/1 n256", "ap": None},
    ]


def test_the_order_is_shown_with_the_reason_of_each_choice(
    http: httpx.Client, ready: Database
) -> None:
    row, lease = start_distillation(ready)
    choose_order(ready, lease, row)
    found = _get(http)
    assert found["order"] == [
        {"teacher": "smallest", "cost": 0.25, "reason": "closest to largest"},
        {"teacher": "largest", "cost": 0.125, "reason": "the best teacher (AP 0.5)"},
    ]
    assert {each["name"]: each["ap"] for each in found["teachers"]} == {
        "largest": 0.5,
        "smallest": 0.25,
    }
    assert found["costs"] == COSTS


def test_every_stage_is_shown_with_its_trial_and_ap_at_the_largest_resolution(
    http: httpx.Client, ready: Database
) -> None:
    resolutions = {"resolutions": ["64x64", "96x96"]}
    row, lease = start_distillation(ready, baselines=["no_teacher"], trial=resolutions)
    plan = choose_order(ready, lease, row)
    run_base(ready, lease)
    run_stage(ready, lease, 0, "base", plan.teachers["smallest"], ap=0.5)
    add_stage(ready, lease, 1, "0", plan.teachers["largest"])
    found = _get(http)
    assert found["resolution"] == "96x96"
    assert found["trials"] == {"succeeded": 2, "pending": 1}
    shown = [
        (stage["path"], stage["parent"], stage["trial_id"], stage["status"], stage["ap"])
        for stage in found["stages"]
    ]
    assert shown == [
        ("smallest", None, f"{row.id}-0", "succeeded", 0.5),
        ("smallest > largest", "smallest", f"{row.id}-1", "pending", None),
        ("no teacher", None, None, None, None),
        ("no teacher > no teacher", "no teacher", None, None, None),
    ]
    assert [stage["teacher"] for stage in found["stages"]] == ["smallest", "largest", None, None]


def test_the_order_is_compared_with_baselines_and_ranked_in_a_study(
    http: httpx.Client, ready: Database
) -> None:
    row, lease = start_distillation(
        ready,
        study=True,
        baselines=["direct", "no_teacher", "mean_of_losses"],
        trial={"resolutions": ["96x96"]},
    )
    plan = choose_order(ready, lease, row)
    small, large = plan.teachers["smallest"], plan.teachers["largest"]
    run_base(ready, lease, ap=0.25)
    run_stage(ready, lease, 0, "base", small, ap=0.375)
    run_stage(ready, lease, 1, "0", large, ap=0.5)
    run_stage(ready, lease, 2, "base", large, ap=0.4375)
    run_stage(ready, lease, 3, "2", small, ap=0.625)
    run_stage(ready, lease, 4, "2", large, ap=0.5625)
    run_control(ready, lease, 1, "base", ap=0.25)
    run_control(ready, lease, 2, "control-1", ap=0.3125)
    found = _get(http)["comparison"]
    assert (found["base"], found["order"]) == (0.25, 0.5)
    assert found["baselines"] == {"direct": 0.5625, "no_teacher": 0.3125, "mean_of_losses": None}
    assert found["rank"] == 2
    assert [(each["rank"], each["order"], each["ap"]) for each in found["orders"]] == [
        (1, ["largest", "smallest"], 0.625),
        (2, ["smallest", "largest"], 0.5),
        (3, ["largest"], 0.4375),
        (4, ["smallest"], 0.375),
    ]


def test_without_a_study_nothing_is_ranked(http: httpx.Client, ready: Database) -> None:
    row, lease = start_distillation(ready)
    choose_order(ready, lease, row)
    found = _get(http)["comparison"]
    assert (found["rank"], found["orders"], found["base"]) == (None, [], None)


def test_values_of_a_sweep_are_compared_with_what_was_submitted(
    http: httpx.Client, ready: Database
) -> None:
    row, lease = run_sweep(ready)
    measure_sweep(ready, lease, FinalSplit.VALIDATION, FinalSplit.TEST)

    found = _get(http)["sweep"]

    assert (found["field"], found["best"]) == ("trial.learning_rate", 0.02)
    submitted, faster, waiting, alone = found["students"]
    assert [each["value"] for each in found["students"]] == [0.01, 0.02, 0.04, None]
    assert [each["as_submitted"] for each in found["students"]] == [True, False, False, False]
    assert [each["trial_id"] for each in found["students"]] == [
        f"{row.id}-0",
        f"{row.id}-1",
        None,
        f"{row.id}-control-1",
    ]
    assert (submitted["ap"], submitted["difference"]) == (0.5, None)
    assert (waiting["ap"], waiting["test"], waiting["difference"]) == (None, None, None)
    assert (faster["ap"], faster["validation"]["ap"], faster["test"]["ap"]) == (0.625, 0.5, 0.5)
    assert (faster["test"]["low"], faster["test"]["high"]) == (
        pytest.approx(0.49525),
        pytest.approx(0.50475),
    )
    assert faster["difference"] == {
        "split": "test",
        "ap": pytest.approx(0.1),
        "low": pytest.approx(0.1),
        "high": pytest.approx(0.1),
        "conclusion": "better",
    }
    assert (alone["baseline"], alone["difference"]["conclusion"]) == ("no_teacher", "worse")


def test_a_sweep_without_a_test_split_is_compared_on_validation(
    http: httpx.Client, ready: Database
) -> None:
    _, lease = run_sweep(ready)
    measure_sweep(ready, lease, FinalSplit.VALIDATION)

    _, faster, _, _ = _get(http)["sweep"]["students"]

    assert (faster["test"], faster["difference"]["split"]) == (None, "validation")


def test_stages_of_a_sweep_name_their_value(http: httpx.Client, ready: Database) -> None:
    row, _ = run_sweep(ready)

    found = _get(http)

    assert [(each["path"], each["value"], each["ap"]) for each in found["stages"]] == [
        ("largest", None, 0.5),
        ("no teacher", None, 0.25),
        ("largest", 0.02, 0.625),
        ("largest", 0.04, None),
    ]
    assert found["comparison"]["order"] == 0.5
    changes = {each["name"]: each["change"] for each in _trials(http)}
    assert changes["1"] == "train with trial.learning_rate=0.02"


def _trials(http: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get("/distillations/mtpd/trials").json()["items"]
    return found


@pytest.mark.usefixtures("ready")
def test_a_sweep_over_a_value_that_is_impossible_names_the_field(http: httpx.Client) -> None:
    sweep = {"field": "trial.learning_rate", "values": [0.02, 0]}
    response = http.post("/distillations", json={**_body(), "sweep": sweep})
    assert response.status_code == 422
    assert response.json()["errors"] == [
        {
            "location": ["body", "sweep", "values", 1],
            "message": "trial.learning_rate: must be greater than 0, not 0",
        }
    ]


def test_trials_lineage_and_front_are_those_of_the_distillation(
    http: httpx.Client, ready: Database
) -> None:
    row, lease = start_distillation(ready)
    plan = choose_order(ready, lease, row)
    run_base(ready, lease, ap=0.25)
    run_stage(ready, lease, 0, "base", plan.teachers["smallest"], ap=0.5)
    trials = http.get("/distillations/mtpd/trials").json()["items"]
    assert [(each["name"], each["search_id"]) for each in trials] == [
        ("base", row.id),
        ("0", row.id),
    ]
    nodes = http.get("/distillations/mtpd/lineage").json()["trials"]
    assert [(each["name"], each["gain"]) for each in nodes] == [("base", None), ("0", 0.25)]
    front = http.get("/distillations/mtpd/pareto").json()["front"]
    assert [each["trial"] for each in front] == ["0", "0"]


def test_events_end_with_the_distillation(http: httpx.Client, ready: Database) -> None:
    _, lease = start_distillation(ready)
    with ready.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "all stages are trained")
    said = http.get("/distillations/mtpd/events").text
    assert "all stages are trained" in said


@pytest.mark.parametrize(
    ("verb", "desired", "status"),
    [
        ("cancel", "cancel", "cancelled"),
        ("kill", "kill", "cancelled"),
        ("pause", "pause", "paused"),
    ],
)
def test_what_no_driver_holds_is_stopped_at_once(
    http: httpx.Client, ready: Database, verb: str, desired: str, status: str
) -> None:
    add_distillation(ready)
    response = http.post(f"/distillations/mtpd/{verb}")
    assert response.status_code == 202
    assert (response.json()["desired"], response.json()["status"]) == (desired, status)


def test_what_a_driver_holds_sees_the_request(http: httpx.Client, ready: Database) -> None:
    start_distillation(ready)
    paused = http.post("/distillations/mtpd/pause").json()
    assert (paused["desired"], paused["status"]) == ("pause", "running")
    resumed = http.post("/distillations/mtpd/resume").json()
    assert (resumed["desired"], resumed["status"]) == ("run", "running")


def test_what_was_cancelled_may_resume_but_not_what_succeeded(
    http: httpx.Client, ready: Database
) -> None:
    _, lease = start_distillation(ready, "good")
    with ready.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "all stages are trained")
    refused = http.post("/distillations/good/extend")
    assert (refused.status_code, "has nothing more to do" in refused.text) == (409, True)
    add_distillation(ready, seed=1)
    http.post("/distillations/mtpd/cancel")
    extended = http.post("/distillations/mtpd/extend")
    assert (extended.status_code, extended.json()["status"]) == (202, "queued")


@pytest.mark.parametrize("path", ["", "/trials", "/lineage", "/pareto", "/events"])
def test_what_does_not_exist_is_not_found(http: httpx.Client, path: str) -> None:
    response = http.get(f"/distillations/x{path}")
    assert response.status_code == 404
    assert response.json()["detail"] == "distillation 'x' does not exist"


def test_a_student_must_have_been_trained(http: httpx.Client, ready: Database) -> None:
    search, lease = start_search(ready)
    body = _body() | {"student": {"trial": f"{search.id}-base"}}
    response = http.post("/distillations", json=body)
    assert response.status_code == 422
    assert response.json()["detail"] == f"student.trial: trial '{search.id}-base' does not exist"
    run_trial(ready, lease, base_proposal())
    created = http.post("/distillations", json=body)
    assert (created.status_code, created.json()["origin_id"]) == (201, f"{search.id}-base")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, Database]]:
    """Address and database of a service that asks for tokens and has one data root."""
    with serve(tmp_path, Rules(tokens_needed=True, data_roots=(tmp_path / "data",))) as service:
        add_dataset(service.database)
        add_pool(service.database)
        yield f"{service.url}/api/v1", service.database


def _of(database: Database, name: str) -> dict[str, str]:
    """The headers of a new token."""
    with database.write() as session:
        secret = tokens.create(session, name, Role.SUBMIT)
    return {"Authorization": f"Bearer {secret}"}


def test_only_its_owner_may_stop_a_distillation(guarded: tuple[str, Database]) -> None:
    url, database = guarded
    ada, bob = _of(database, "ada"), _of(database, "bob")
    created = httpx.post(f"{url}/distillations", json=_body(), headers=ada)
    assert (created.status_code, created.json()["owner"]) == (201, "ada")
    for verb in ("pause", "resume", "cancel", "kill"):
        refused = httpx.post(f"{url}/distillations/mtpd/{verb}", headers=bob)
        assert (refused.status_code, "belongs to ada" in refused.text) == (403, True)
    assert httpx.post(f"{url}/distillations/mtpd/cancel", headers=ada).status_code == 202


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (
            {
                "student": {
                    "base": {
                        "backbone": None,
                        "mmdet": {"config": "retinanet_r18_fpn_1x_coco", "checkpoint": "/etc/pw"},
                    }
                }
            },
            "student.base.mmdet.checkpoint",
        ),
        (
            {
                "teacher_methods": {
                    "largest": {
                        "methods": [
                            {"name": "dicod_classification", "options": {"classifier": "/etc/pw"}}
                        ]
                    }
                }
            },
            "teacher_methods.largest.methods.dicod_classification.options.classifier",
        ),
    ],
)
def test_paths_must_lie_below_the_data_roots(
    guarded: tuple[str, Database], changes: dict[str, Any], field: str
) -> None:
    url, database = guarded
    body = _body() | changes
    response = httpx.post(f"{url}/distillations", json=body, headers=_of(database, "ada"))
    assert response.status_code == 422
    assert response.json()["detail"].startswith(f"{field}: '/etc/pw' must be an absolute path")
