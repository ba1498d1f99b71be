"""Owners take turns, and use no more GPU-hours than they may."""

from collections.abc import Callable, Mapping

import pytest
from sqlalchemy import update

from searchd.coordinator.jobs import Node
from searchd.coordinator.loop import Action, Coordinator
from searchd.domain.lifecycle import SearchStatus
from searchd.spec import ResourcesSpec
from searchd.store import Database
from searchd.store.models import TrialRow
from searchd.store.resources import searches
from searchd.store.work import queue
from tests.searchd.conftest import FakeClock
from tests.searchd.coordinator.scripted_jobs import ScriptedJobs
from tests.searchd.store import factories


@pytest.fixture
def make(sqlite: Database, clock: FakeClock) -> Callable[..., Coordinator]:
    """Makes a coordinator on a cluster with GPUs, with the settings given."""

    def made(**settings: float) -> Coordinator:
        return Coordinator(
            sqlite,
            ScriptedJobs(Node(cpus=8, gpus=8)),
            lease_s=60,
            max_attempts=3,
            clock=clock,
            monotonic=clock.watch,
            **{"max_running_searches": 1, **settings},  # type: ignore[arg-type]
        )

    return made


def submit(
    database: Database, owners: Mapping[str, str | None], **priorities: int
) -> dict[str, str]:
    """Submit searches with one GPU for each trial; their names by their work."""
    factories.add_dataset(database)
    factories.add_pool(database)
    submitted = {}
    for name, owner in owners.items():
        resources, priority = ResourcesSpec(gpus_per_trial=1), priorities.get(name, 0)
        spec = factories.search_spec(name, resources=resources, priority=priority)
        with database.write() as session:
            submitted[f"search-{searches.create(session, spec, owner=owner).id}"] = name
    return submitted


def started(coordinator: Coordinator, names: Mapping[str, str]) -> list[str]:
    """Run a round; the names of the searches that it started."""
    events = coordinator.step()
    return [names[event.work_id] for event in events if event.action is Action.STARTED]


def spend(database: Database, name: str, hours: float) -> None:
    """Run a trial of a search on its GPU for some hours."""
    with database.read() as session:
        run = searches.get(session, name).id
    with factories.leased(database, f"search-{run}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
    factories.run_trial(database, lease, factories.base_proposal())
    with database.write() as session:
        rows = update(TrialRow).where(TrialRow.run_id == run)
        session.execute(rows.values(busy_s=3600 * hours))


def test_each_owner_gets_a_turn_although_another_submitted_first(
    sqlite: Database, make: Callable[..., Coordinator]
) -> None:
    names = submit(sqlite, {"a1": "ann", "a2": "ann", "a3": "ann", "b1": "bob"})

    assert started(make(max_running_searches=2), names) == ["a1", "b1"]


def test_an_owner_starts_what_has_the_highest_priority_and_others_keep_their_turn(
    sqlite: Database, make: Callable[..., Coordinator]
) -> None:
    owners = {"a1": "ann", "a2": "ann", "a3": "ann", "b1": "bob", "b2": "bob"}
    names = submit(sqlite, owners, a1=-1, a3=7)

    assert started(make(max_running_searches=3), names) == ["a3", "b1", "a2"]


def test_without_owners_all_searches_are_ordered_by_priority(
    sqlite: Database, make: Callable[..., Coordinator]
) -> None:
    names = submit(sqlite, dict.fromkeys(("first", "second", "third")), second=1)

    assert started(make(max_running_searches=2), names) == ["second", "first"]


def test_an_owner_over_the_quota_waits_and_others_do_not(
    sqlite: Database, make: Callable[..., Coordinator], clock: FakeClock
) -> None:
    names = submit(sqlite, {"a1": "ann", "a2": "ann", "b1": "bob"})
    spend(sqlite, "a1", hours=10)

    assert started(make(max_running_searches=9, gpu_hours_per_owner=10), names) == ["b1"]

    with sqlite.read() as session:
        reason = searches.get(session, "a2").status_reason
    assert reason == (
        "waits: ann has used the 10 GPU-hours that each owner has in 30 days (the operator sets "
        "SEARCHD_GPU_HOURS_PER_OWNER)"
    )
    clock.pass_s(31 * 86400)
    assert started(make(max_running_searches=9, gpu_hours_per_owner=10), names) == ["a2"]


def test_below_the_quota_an_owner_may_go_on(
    sqlite: Database, make: Callable[..., Coordinator]
) -> None:
    names = submit(sqlite, {"a1": "ann", "a2": "ann"})
    spend(sqlite, "a1", hours=9.9)

    assert started(make(max_running_searches=9, gpu_hours_per_owner=10), names) == ["a2"]
