"""Large searches over HTTP: pages, subtrees, samples, and lists with few fields."""

from typing import Any

import httpx
import pytest

from searchd.domain.lifecycle import SearchStatus
from searchd.search.pareto import pareto_front
from searchd.store import Database, Lease
from searchd.store.work import queue
from tests.searchd.store.factories import (
    base_proposal,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
)

PARENTS = ("base", "0", "0", "1", "base", "4", "2", "6")
"""Of trials 0 to 7."""
APS = (0.50, 0.55, 0.45, 0.60, 0.40, 0.58, 0.62, 0.30)


@pytest.fixture
def search(database: Database) -> tuple[str, Lease]:
    """Base and eight trials at two resolutions."""
    row, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    for number, (parent, ap) in enumerate(zip(PARENTS, APS, strict=True)):
        report = succeeded(str(number), ap=ap, macs=1e9 + 1e8 * (number % 4))
        run_trial(database, lease, search_proposal(number, parent), report)
    return row.id, lease


def get(http: httpx.Client, path: str, **params: Any) -> dict[str, Any]:
    response = http.get(f"/searches/first{path}", params=params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def names(nodes: list[dict[str, Any]]) -> list[str]:
    return [node["name"] for node in nodes]


@pytest.mark.usefixtures("search")
def test_front_and_dominated_points_are_all_evaluations(http: httpx.Client) -> None:
    rows = [
        (evaluation["macs"], evaluation["ap"])
        for trial in get(http, "/trials")["items"]
        for evaluation in trial["evaluations"]
    ]
    found = get(http, "/pareto")

    def pairs(points: list[dict[str, Any]]) -> list[tuple[float, float]]:
        return [(each["evaluation"]["macs"], each["evaluation"]["ap"]) for each in points]

    expected = pareto_front(rows, cost=lambda row: row[0], value=lambda row: row[1])
    assert pairs(found["front"]) == expected
    assert sorted([*pairs(found["front"]), *pairs(found["dominated"])]) == sorted(rows)
    assert get(http, "/pareto", dominated=0)["dominated"] == []
    assert len(get(http, "/pareto", dominated=4)["dominated"]) <= 4


@pytest.mark.usefixtures("search")
def test_dominated_points_come_in_pages_or_of_every_nth_trial(http: httpx.Client) -> None:
    whole = get(http, "/pareto/dominated")
    assert whole["next_page_token"] is None
    paged, token = [], None
    while True:
        page = get(
            http, "/pareto/dominated", page_size=2, **({"page_token": token} if token else {})
        )
        paged += page["items"]
        token = page["next_page_token"]
        if token is None:
            break
    assert paged == whole["items"] == get(http, "/pareto")["dominated"]
    sampled = get(http, "/pareto/dominated", every=3)["items"]
    assert {each["trial"] for each in sampled} <= {"base", "2", "5"}


@pytest.mark.usefixtures("search")
def test_front_is_as_new_as_the_last_event(http: httpx.Client, database: Database) -> None:
    before = get(http, "/pareto")
    assert get(http, "/pareto") == before
    lease = Lease(f"search-{get(http, '')['id']}", 1)
    run_trial(database, lease, search_proposal(8), succeeded("8", ap=0.9, macs=1e9))
    assert "8" in {point["trial"] for point in get(http, "/pareto")["front"]}


def test_lineage_comes_in_pages_and_subtrees(http: httpx.Client, search: tuple[str, Lease]) -> None:
    whole = get(http, "/lineage")["trials"]
    assert names(whole) == ["base", "0", "1", "2", "3", "4", "5", "6", "7"]
    assert [node["num_children"] for node in whole] == [2, 2, 1, 1, 0, 1, 0, 1, 0]
    first = get(http, "/lineage", page_size=4)
    rest = get(http, "/lineage", page_size=5, page_token=first["next_page_token"])
    assert [*first["trials"], *rest["trials"]] == whole
    assert rest["next_page_token"] is None
    root = f"{search[0]}-0"
    assert names(get(http, "/lineage", root=root)["trials"]) == ["0", "1", "2", "3", "6", "7"]
    assert names(get(http, "/lineage", root=root, depth=1)["trials"]) == ["0", "1", "2"]
    below = get(http, "/lineage", root=f"{search[0]}-6")["trials"]
    assert below == [whole[7], whole[8]]


@pytest.mark.usefixtures("search")
def test_lists_have_the_fields_that_are_asked_for(http: httpx.Client) -> None:
    whole = get(http, "/trials")["items"]
    wanted = "id,status,best,teacher,encoding,search_id"
    narrow = get(http, "/trials", fields=wanted)["items"]
    assert narrow == [{name: each[name] for name in wanted.split(",")} for each in whole]
    (search,) = http.get("/searches", params={"fields": "name,status"}).json()["items"]
    assert search == {"name": "first", "status": "running"}
    refused = http.get("/searches", params={"fields": "name,colour"})
    assert refused.status_code == 422
    assert "Search has no colour; it has id, name" in refused.json()["detail"]


def test_list_since_an_event_has_what_changed(
    http: httpx.Client, database: Database, search: tuple[str, Lease]
) -> None:
    with database.read() as session:
        seen = queue.resource(session, queue.of_resource(session, search[0])).num_events
    assert get(http, "/trials", since=seen)["items"] == []
    run_trial(database, search[1], search_proposal(8))
    assert names(get(http, "/trials", since=seen)["items"]) == ["8"]
    started = get(http, "")["created_at"]
    assert names(http.get("/searches", params={"since": started}).json()["items"]) == ["first"]
    later = http.get("/searches", params={"since": "2999-01-01T00:00:00Z"}).json()["items"]
    assert later == []


def test_unknown_roots_and_tokens_are_refused(
    http: httpx.Client, database: Database, search: tuple[str, Lease]
) -> None:
    with database.write() as session:
        queue.finish(session, search[1], SearchStatus.FAILED, "the end")
    path = "/searches/first/lineage"
    assert http.get(path, params={"root": "s-none-1"}).status_code == 404
    assert http.get(path, params={"page_token": "x", "page_size": 2}).status_code == 422
    path = "/searches/first/pareto/dominated"
    assert http.get(path, params={"page_token": "x"}).status_code == 422
