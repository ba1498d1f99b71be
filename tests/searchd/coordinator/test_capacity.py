"""Work under way whose nodes are gone waits for those that may join, or ends with a reason."""

import pytest

from searchd.coordinator.capacity import CHECK_INTERVAL_S, NODES_LOST_TIMEOUT_S
from searchd.coordinator.jobs import JobStatus, Node
from searchd.coordinator.loop import Action, Coordinator
from searchd.domain.capacity import ANY
from searchd.domain.lifecycle import SearchStatus
from searchd.spec import ResourcesSpec
from searchd.store import Database, events
from searchd.store.resources import searches
from tests.searchd.conftest import FakeClock
from tests.searchd.coordinator.scripted_jobs import ScriptedJobs
from tests.searchd.store import factories

WITH_GPU, WITHOUT = Node(cpus=8, gpus=1), Node(cpus=8, gpus=0)


@pytest.fixture
def jobs() -> ScriptedJobs:
    return ScriptedJobs(WITH_GPU)


@pytest.fixture
def coordinator(sqlite: Database, jobs: ScriptedJobs, clock: FakeClock) -> Coordinator:
    return Coordinator(
        sqlite,
        jobs,
        lease_s=1e9,
        max_running_searches=1,
        max_attempts=3,
        clock=clock,
        monotonic=clock.watch,
    )


@pytest.fixture
def search(sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator) -> str:
    """A search on a GPU whose driver runs; its id."""
    factories.add_dataset(sqlite)
    factories.add_pool(sqlite)
    with sqlite.write() as session:
        resources = ResourcesSpec(gpus_per_trial=1)
        row = searches.create(session, factories.search_spec("gpu", resources=resources))
    coordinator.step()
    jobs.statuses[f"search-{row.id}-1"] = JobStatus.RUNNING
    return row.id


def status_of(database: Database, search: str) -> tuple[SearchStatus, str]:
    with database.read() as session:
        row = searches.get(session, search)
        return row.status, row.status_reason


def test_search_whose_gpu_is_gone_for_long_fails_and_says_so(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock, search: str
) -> None:
    jobs.cluster = [WITHOUT]
    clock.pass_s(CHECK_INTERVAL_S)
    assert coordinator.step() == []
    clock.pass_s(NODES_LOST_TIMEOUT_S)

    (event,) = coordinator.step()

    assert event.action is Action.GAVE_UP
    assert status_of(sqlite, search) == (
        SearchStatus.FAILED,
        "nodes have been missing for 15 minutes: unschedulable: each trial needs 1 CPUs and 1 "
        "GPUs, and the cluster has capacity for 0 of 1; its nodes have 8 CPUs and 0 GPUs",
    )
    assert jobs.statuses == {f"search-{search}-1": JobStatus.STOPPED}
    assert coordinator.step() == []


def test_node_that_comes_back_in_time_is_waited_for(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock, search: str
) -> None:
    for cluster in ([WITHOUT], [WITHOUT, WITH_GPU], [WITHOUT]):
        jobs.cluster = cluster
        clock.pass_s(NODES_LOST_TIMEOUT_S - 1)
        assert coordinator.step() == []

    assert status_of(sqlite, search)[0] is SearchStatus.QUEUED  # its driver moves it


def test_nothing_is_decided_while_no_node_is_known(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock, search: str
) -> None:
    jobs.cluster = []
    for _ in range(3):
        clock.pass_s(NODES_LOST_TIMEOUT_S)
        assert coordinator.step() == []

    assert status_of(sqlite, search)[0] is SearchStatus.QUEUED


@pytest.fixture
def growing(sqlite: Database, jobs: ScriptedJobs, clock: FakeClock) -> Coordinator:
    """The coordinator of a cluster that nodes may join at any time."""
    return Coordinator(
        sqlite,
        jobs,
        lease_s=1e9,
        max_running_searches=1,
        max_attempts=3,
        clock=clock,
        monotonic=clock.watch,
        growth=ANY,
    )


def test_a_search_starts_before_its_gpu_joins_waits_for_days_and_says_so(
    sqlite: Database, jobs: ScriptedJobs, growing: Coordinator, clock: FakeClock
) -> None:
    """Its driver runs, so that an autoscaler sees the demand."""
    jobs.cluster = [WITHOUT]
    factories.add_dataset(sqlite)
    factories.add_pool(sqlite)
    with sqlite.write() as session:
        resources = ResourcesSpec(gpus_per_trial=1)
        search = searches.create(session, factories.search_spec("gpu", resources=resources)).id
    (started,) = growing.step()
    jobs.statuses[f"search-{search}-1"] = JobStatus.RUNNING
    for _ in range(3):
        clock.pass_s(86_400)
        assert growing.step() == []

    assert started.action is Action.STARTED
    assert status_of(sqlite, search) == (
        SearchStatus.QUEUED,  # its driver moves it
        "waits for nodes: each trial needs 1 CPUs and 1 GPUs, and the cluster has capacity for 0 "
        "of 1; its nodes have 8 CPUs and 0 GPUs",
    )

    jobs.cluster = [WITHOUT, WITH_GPU]
    clock.pass_s(CHECK_INTERVAL_S)
    growing.step()
    assert status_of(sqlite, search)[1] == "the cluster has the nodes that were missing"
    with sqlite.read() as session:
        told = [event.message for event in events.after(session, search, 0)]
    assert len(told) == len(set(told))
