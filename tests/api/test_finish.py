"""Finishing a search over HTTP; its descendants on the front and in the lineage."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from api.auth import Rules
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import Train
from searchd.spec import TrainingSpec
from searchd.store import Database, Role
from searchd.store.resources import searches, tokens
from searchd.store.work import queue
from tests.api.service import serve
from tests.searchd.store.distillation_factory import run_base
from tests.searchd.store.factories import (
    LARGE,
    SMALL,
    add_dataset,
    add_pool,
    base_proposal,
    leased,
    run_trial,
    search_proposal,
    search_spec,
    succeeded,
)


def _ended_search(database: Database, owner: str | None = None) -> str:
    """A search that has ended with one detector; its id."""
    add_dataset(database)
    add_pool(database)
    spec = search_spec(trial=TrainingSpec(resolutions=(SMALL, LARGE)))
    with database.write() as session:
        search = searches.create(session, spec, owner=owner)
    with leased(database, f"search-{search.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.25))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.5))
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
    return search.id


def _finished(http: httpx.Client, database: Database) -> tuple[str, str]:
    """A search whose detector was fine-tuned; its id and the distillation's."""
    search = _ended_search(database)
    (made,) = http.post("/searches/first/finish", json={}).json()
    with leased(database, f"distillation-{made['id']}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base evaluated")
    run_base(database, lease, ap=0.5)
    tuned = replace(search_proposal(0), change=Train())
    run_trial(database, lease, tuned, succeeded("0", ap=0.625))
    return search, made["id"]


def test_finishing_answers_with_the_distillations_and_again_with_the_same(
    http: httpx.Client, database: Database
) -> None:
    search = _ended_search(database)
    first = http.post("/searches/first/finish", json={"detectors": "all"})
    assert first.status_code == 201
    (made,) = first.json()
    assert (made["name"], made["origin_id"]) == ("first-fine-tune-0", f"{search}-0")
    assert made["teachers"] == [
        {"name": "found", "source": "subnet d2-2-2-2 w1/1/1/1 n256", "ap": None}
    ]
    again = http.post("/searches/first/finish", json={"detectors": [f"{search}-0"]})
    assert (again.status_code, again.json()) == (201, [made])


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"detectors": ["s-x-1"]}, 422, "'s-x-1' is not a trial of search first"),
        ({"detectors": []}, 422, "body.detectors"),
        ({"method": {"kind": "prune"}}, 422, "body.method"),
        ({"method": {"kind": "distil"}}, 422, "exactly one of teachers and num_sampled_teachers"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    http: httpx.Client, database: Database, body: dict[str, object], status: int, detail: str
) -> None:
    _ended_search(database)
    response = http.post("/searches/first/finish", json=body)
    assert response.status_code == status
    assert detail in response.json()["detail"]
    assert http.get("/distillations").json()["items"] == []


def test_descendants_join_the_front_and_say_which_run_they_are_from(
    http: httpx.Client, database: Database
) -> None:
    search, made = _finished(http, database)
    front = http.get("/searches/first/pareto").json()
    assert [(p["trial_id"], p["search"]) for p in front["front"]] == [
        (f"{made}-0", "first-fine-tune-0")
    ] * 2
    every = {p["trial_id"] for p in (*front["front"], *front["dominated"])}
    assert every == {f"{search}-base", f"{search}-0", f"{made}-0"}
    own = http.get("/searches/first/pareto", params={"descendants": False}).json()
    assert {p["search_id"] for p in (*own["front"], *own["dominated"])} == {search}


def test_descendants_join_the_lineage_as_children_of_their_origin(
    http: httpx.Client, database: Database
) -> None:
    search, made = _finished(http, database)
    nodes = http.get("/searches/first/lineage").json()["trials"]
    assert [(n["id"], n["parent_id"], n["search"], n["gain"]) for n in nodes] == [
        (f"{search}-base", None, "first", None),
        (f"{search}-0", f"{search}-base", "first", 0.25),
        (f"{made}-0", f"{search}-0", "first-fine-tune-0", 0.125),
    ]
    own = http.get("/searches/first/lineage", params={"descendants": False}).json()["trials"]
    assert len(own) == 2
    alone = http.get(f"/distillations/{made}/lineage").json()["trials"]
    assert [(n["id"], n["parent_id"]) for n in alone] == [
        (f"{made}-base", f"{search}-0"),
        (f"{made}-0", f"{made}-base"),
    ]


def test_a_detector_of_a_distillation_has_the_lineage_of_the_search_too(
    http: httpx.Client, database: Database
) -> None:
    search, made = _finished(http, database)
    detector = http.get(f"/detectors/{made}-0").json()
    assert (detector["search_id"], detector["search"]) == (made, "first-fine-tune-0")
    assert detector["lineage"] == [f"{search}-base", f"{search}-0", f"{made}-0"]
    copy = http.get(f"/detectors/{made}-base").json()
    assert copy["lineage"] == [f"{search}-base", f"{search}-0", f"{made}-base"]


def test_only_its_owner_may_finish_a_search_and_only_with_files_below_the_roots(
    tmp_path: Path,
) -> None:
    strategy = Rules(tokens_needed=True, data_roots=(tmp_path / "data",))
    with serve(tmp_path, strategy) as service:
        headers = {}
        for name in ("ada", "bob"):
            with service.database.write() as session:
                secret = tokens.create(session, name, Role.SUBMIT)
            headers[name] = {"Authorization": f"Bearer {secret}"}
        _ended_search(service.database, owner="ada")
        url = f"{service.url}/api/v1/searches/first/finish"
        refused = httpx.post(url, json={}, headers=headers["bob"])
        assert (refused.status_code, "belongs to ada" in refused.text) == (403, True)
        dicod = {"name": "dicod_classification", "options": {"classifier": "/etc/pw"}}
        method = {
            "kind": "distil",
            "num_sampled_teachers": 2,
            "distillation": {"methods": [dicod]},
        }
        outside = httpx.post(url, json={"method": method}, headers=headers["ada"])
        assert (outside.status_code, "SEARCHD_DATA_ROOTS" in outside.text) == (422, True)
        made = httpx.post(url, json={}, headers=headers["ada"])
        assert (made.status_code, made.json()[0]["owner"]) == (201, "ada")
        listed = httpx.get(f"{service.url}/api/v1/distillations", headers=headers["ada"]).json()
        assert [each["name"] for each in listed["items"]] == ["first-fine-tune-0"]
