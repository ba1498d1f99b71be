"""Data sets, pools and searches over HTTP: create, find, list, cancel."""

from typing import Any

import httpx
import pytest

from searchd.domain.lifecycle import PoolStatus
from searchd.messages.reports import PoolProgress
from searchd.store import Database
from searchd.store.resources import pools
from searchd.store.work import queue
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    add_search,
    dataset_spec,
    leased,
    pool_report,
    pool_spec,
    search_spec,
    with_measured_phase,
)


def _dataset(name: str = "shapes") -> dict[str, Any]:
    return dataset_spec(name).model_dump(mode="json")


def _assert_problem(response: httpx.Response, status: int, kind: str, detail: str) -> None:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (response.status_code, body["status"], body["type"]) == (status, status, kind)
    assert detail in body["detail"]


def test_a_created_data_set_is_found_where_location_says(http: httpx.Client) -> None:
    response = http.post("/datasets", json=_dataset())
    assert response.status_code == 201
    created = response.json()
    assert response.headers["location"] == f"/api/v1/datasets/{created['id']}"
    assert created["status"] == "checking"
    assert http.get(f"/datasets/{created['id']}").json() == created
    assert http.get("/datasets/shapes").json() == created


def test_a_data_set_is_created_from_paths_in_any_format(http: httpx.Client) -> None:
    body = {"name": "mine", "paths": ["/data/mine"], "format": "yolo", "group_by": "^clip"}

    created = http.post("/datasets", json=body)
    spec = created.json()["spec"]

    assert (created.status_code, created.json()["status"]) == (201, "checking")
    assert spec["train"]["images"] == "/data/mine"
    assert "/artifacts/datasets/mine-" in spec["train"]["annotations"]
    assert (spec["source"]["format"], spec["source"]["group_by"]) == ("yolo", "^clip")
    again = http.post("/datasets", json={**body, "name": "again", "paths": ["relative"]})
    assert again.status_code == 422


def test_source_of_a_data_set_cannot_be_given_with_its_splits(http: httpx.Client) -> None:
    body = {**_dataset(), "source": {"paths": ["/data/mine"]}}

    response = http.post("/datasets", json=body)

    assert response.status_code == 422
    assert "give paths or uri instead" in response.text


def test_a_pool_and_a_search_are_created_from_their_specs(
    http: httpx.Client, database: Database
) -> None:
    add_dataset(database)
    pool = http.post("/pools", json=pool_spec().model_dump(mode="json"))
    assert (pool.status_code, pool.json()["status"]) == (201, "queued")
    search = http.post("/searches", json={"name": "s", "dataset": "shapes", "pool": "teachers"})
    assert search.status_code == 201
    body = search.json()
    assert (body["status"], body["desired"], body["trials"]) == ("queued", "run", {})
    budget = {name: value for name, value in body["spec"]["budget"].items() if value is not None}
    finish = {"detectors": 3, "epochs": 12, "learning_rate": None}
    assert budget == {"max_trials": 100, "patience": 20, "finish": finish}
    assert search.headers["location"] == f"/api/v1/searches/{body['id']}"


def test_a_repeated_request_creates_nothing_new(http: httpx.Client) -> None:
    key = {"Idempotency-Key": "4711"}
    first = http.post("/datasets", json=_dataset(), headers=key)
    again = http.post("/datasets", json=_dataset(), headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    other = http.post("/datasets", json=_dataset("other"), headers=key)
    _assert_problem(other, 409, "urn:searchd:problem:conflict", "Idempotency-Key '4711'")


@pytest.mark.parametrize("noun", ["datasets", "pools", "searches"])
def test_validate_only_creates_nothing(http: httpx.Client, database: Database, noun: str) -> None:
    specs = {
        "datasets": dataset_spec("new"),
        "pools": pool_spec("new"),
        "searches": search_spec("new"),
    }
    add_search(database)
    body = specs[noun].model_dump(mode="json")
    response = http.post(f"/{noun}", json=body, params={"validate_only": True})
    assert (response.status_code, response.json()) == (200, {"warnings": []})
    assert len(http.get(f"/{noun}").json()["items"]) == 1


def test_validate_only_finds_what_creation_would(http: httpx.Client) -> None:
    http.post("/datasets", json=_dataset())
    response = http.post("/datasets", json=_dataset(), params={"validate_only": True})
    _assert_problem(response, 409, "urn:searchd:problem:conflict", "'shapes' already")


def test_lists_are_paged(http: httpx.Client) -> None:
    for name in ("a", "b", "c"):
        http.post("/datasets", json=_dataset(name))
    first = http.get("/datasets", params={"page_size": 2}).json()
    rest = http.get("/datasets", params={"page_token": first["next_page_token"]}).json()
    assert [item["name"] for item in first["items"]] == ["c", "b"]
    assert [item["name"] for item in rest["items"]] == ["a"]
    assert rest["next_page_token"] is None


def test_lists_are_filtered_by_status(http: httpx.Client, database: Database) -> None:
    add_search(database)
    assert http.get("/pools", params={"status": "failed"}).json()["items"] == []
    assert len(http.get("/pools", params={"status": "ready"}).json()["items"]) == 1
    assert len(http.get("/searches", params={"status": "queued"}).json()["items"]) == 1


def test_lists_are_filtered_and_sorted_by_the_parameters_of_the_request(http: httpx.Client) -> None:
    for name in ("b-shapes", "c", "a-shapes"):
        http.post("/datasets", json=_dataset(name))

    def names(**parameters: str | int | list[str]) -> list[str]:
        found = http.get("/datasets", params=httpx.QueryParams(parameters)).json()
        return [item["name"] for item in found["items"]]

    assert names(sort="name") == ["a-shapes", "b-shapes", "c"]
    assert names(sort="created_at") == ["b-shapes", "c", "a-shapes"]
    assert names(name="shapes", sort="-name") == ["b-shapes", "a-shapes"]
    assert names(status=["ready", "checking"]) == ["a-shapes", "c", "b-shapes"]
    assert names(status=["ready", "failed"]) == []
    assert names(since="2020-01-01T00:00:00+00:00", page_size=1) == ["a-shapes"]
    assert names(since="9000-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"sort": "size"}, "query.sort: must be created_at, -created_at, name, -name, status or "),
        ({"status": "lost"}, "query.status.0: must be checking, ready or failed"),
        ({"since": "2026-01-01T00:00:00"}, "query.since: "),
        ({"since": "0001-01-01T00:00:00+14:00"}, "query.since: is not a time in UTC"),
        ({"name": "x" * 64}, "query.name: "),
    ],
)
def test_parameters_of_a_list_that_are_not_valid_are_named(
    http: httpx.Client, parameters: dict[str, str], expected: str
) -> None:
    response = http.get("/datasets", params=parameters)
    _assert_problem(response, 422, "urn:searchd:problem:validation", expected)


def test_a_trained_pool_shows_its_subnets(http: httpx.Client, database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    pool = http.get("/pools/teachers").json()
    assert pool["status"] == "ready"
    assert pool["supernet"]["name"] == "supernet"
    assert pool["subnets"][0]["subnet"]["depths"] == [3, 4, 23, 3]
    assert pool["subnets"][0]["resolution"] == "96x96"
    assert pool["epochs"][0]["phase"] == "supernet"


def test_a_trained_pool_shows_its_subnets_at_the_end_of_each_phase(
    http: httpx.Client, database: Database
) -> None:
    add_dataset(database)
    pool_id = add_pool(database, ready=False)
    report = with_measured_phase(pool_report(pool_id))
    with leased(database, f"pool-{pool_id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, report)

    first, second = http.get("/pools/teachers").json()["epochs"]

    assert [each["ap"] for each in first["subnets"]] == [0.4, 0.3]
    assert first["subnets"][0]["subnet"]["depths"] == [3, 4, 23, 3]
    assert (second["phase"], second["subnets"]) == ("shrink-1", [])


def test_a_pool_in_training_shows_its_epochs_so_far(http: httpx.Client, database: Database) -> None:
    add_dataset(database)
    pool_id = add_pool(database, ready=False)
    epochs = with_measured_phase(pool_report(pool_id)).epochs[:1]
    at = PoolProgress(
        pool=pool_id,
        attempt=1,
        phase="shrink-1",
        epoch=1,
        num_epochs=1,
        iteration=2,
        num_iterations=8,
        losses={},
        epochs=epochs,
    )
    with leased(database, f"pool-{pool_id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_progress(session, lease, at)

    found = http.get("/pools/teachers").json()
    (epoch,) = found["epochs"]

    assert (found["progress"]["iteration"], "epochs" in found["progress"]) == (2, False)
    assert (epoch["phase"], epoch["losses"]["loss"]) == ("supernet", 1.5)
    assert [each["ap"] for each in epoch["subnets"]] == [0.4, 0.3]


@pytest.mark.parametrize(
    "path",
    [
        "/datasets/x",
        "/datasets/x/events",
        "/pools/x",
        "/searches/x",
        "/searches/x/trials",
        "/searches/x/lineage",
        "/searches/x/pareto",
        "/searches/x/events",
        "/trials/x",
        "/detectors/x",
        "/detectors/x/artifacts/student",
    ],
)
def test_what_does_not_exist_is_not_found(http: httpx.Client, path: str) -> None:
    _assert_problem(http.get(path), 404, "urn:searchd:problem:not-found", "'x' does not exist")


def test_every_invalid_field_is_named(http: httpx.Client) -> None:
    spec = {"name": "Not A Name", "dataset": "d", "pool": "p", "sed": 1, "budget": {"patience": 0}}
    response = http.post("/searches", json=spec)
    _assert_problem(response, 422, "urn:searchd:problem:validation", "body.budget.patience")
    locations = [error["location"] for error in response.json()["errors"]]
    assert locations == [["body", "name"], ["body", "budget", "patience"], ["body", "sed"]]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (
            {"name": "d", "paths": ["/x"], "forma": "voc"},
            "body.forma: unknown field; did you mean format?",
        ),
        (
            {"name": "d", "paths": ["/x"], "format": "vc"},
            "body.format: must be coco, yolo, voc, cvat, labelstudio or argoverse, "
            'not "vc"; did you mean voc?',
        ),
        (
            {"name": "d", "paths": ["/x"], "seed": True},
            "body.seed: must be a whole number, not true",
        ),
    ],
)
def test_an_invalid_body_is_explained_in_the_words_of_the_command_line(
    http: httpx.Client, body: dict[str, Any], detail: str
) -> None:
    response = http.post("/datasets", json=body)

    _assert_problem(response, 422, "urn:searchd:problem:validation", "")
    assert response.json()["detail"] == detail


def test_an_invalid_query_or_path_is_explained_too(http: httpx.Client) -> None:
    text = {"Content-Type": "text/yaml"}

    query = http.get("/searches", params={"page_size": "many"}).json()["detail"]
    path = http.get("/searches/a.b").json()["detail"]
    body = http.post("/searches", content="name: x", headers=text).json()["detail"]

    assert query == 'query.page_size: must be a whole number, not "many"'
    assert path == 'path.search: has only letters, digits, "-" and "_", unlike "a.b"'
    assert body == "body: the body is not JSON: its Content-Type must be application/json"


def test_a_search_without_its_data_set_is_not_valid(http: httpx.Client) -> None:
    response = http.post("/searches", json={"name": "s", "dataset": "none", "pool": "p"})
    message = "data set 'none' does not exist; register it first"
    _assert_problem(response, 422, "urn:searchd:problem:invalid-value", f"dataset: {message}")
    assert response.json()["errors"] == [{"location": ["body", "dataset"], "message": message}]


def test_illegal_paging_is_not_valid(http: httpx.Client) -> None:
    response = http.get("/datasets", params={"page_size": 0})
    _assert_problem(response, 422, "urn:searchd:problem:validation", "query.page_size")
    response = http.get("/datasets", params={"page_token": "d-x"})
    _assert_problem(response, 422, "urn:searchd:problem:invalid-value", "page_token 'd-x'")


def test_a_body_that_is_no_json_is_not_valid(http: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    response = http.post("/datasets", content="{", headers=headers)
    _assert_problem(response, 422, "urn:searchd:problem:validation", "JSON")


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ('"/data/\\ud800"', "a lone surrogate"),
        ('"/data/\\u0000"', "a null character"),
        ('{"\\udfff": 1}', "a lone surrogate"),
        ("[[1e999]]", "inf is not a finite number"),
        ("NaN", "nan is not a finite number"),
    ],
)
def test_what_cannot_be_stored_is_not_valid(http: httpx.Client, value: str, detail: str) -> None:
    options = f'{{"config": "x", "checkpoint": "/x", "options": {{"a": {value}}}}}'
    spec = f'{{"name": "s", "dataset": "d", "pool": "p", "base": {{"mmdet": {options}}}}}'
    spec = spec.replace('"mmdet"', '"backbone": null, "mmdet"')
    headers = {"Content-Type": "application/json"}
    response = http.post("/searches", content=spec, headers=headers)
    _assert_problem(response, 422, "urn:searchd:problem:invalid-value", detail)


def test_json_nested_too_deep_is_refused(http: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    response = http.post("/searches", content="[" * 100_000, headers=headers)
    _assert_problem(response, 400, "about:blank", "parsing the body")


def test_a_huge_body_is_refused(http: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    response = http.post("/datasets", content=b" " * (1 << 21), headers=headers)
    _assert_problem(response, 413, "about:blank", "larger than 1048576 bytes")


def test_unknown_paths_and_methods_are_problems_too(http: httpx.Client) -> None:
    _assert_problem(http.get("/nothing"), 404, "about:blank", "Not Found")
    response = http.delete("/datasets")
    _assert_problem(response, 405, "about:blank", "Method Not Allowed")
    assert "GET" in response.headers["allow"]
