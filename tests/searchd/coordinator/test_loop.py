"""The reconcile loop, round by round, with scripted jobs and a clock that tests move."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from searchd.coordinator.jobs import JobStatus, Node
from searchd.coordinator.loop import Action, Coordinator, CoordinatorEvent
from searchd.domain.errors import ClusterUnreachableError
from searchd.domain.lifecycle import DatasetStatus, PoolStatus, SearchStatus, WorkStatus
from searchd.spec import PoolSpec, ResourcesSpec
from searchd.store import Database
from searchd.store.models import WorkRow
from searchd.store.resources import datasets, pools, searches
from searchd.store.work import queue, requests
from tests.searchd.conftest import FakeClock
from tests.searchd.coordinator.scripted_jobs import ScriptedJobs
from tests.searchd.store import factories

LEASE_S = 60.0


@pytest.fixture
def jobs() -> ScriptedJobs:
    return ScriptedJobs(Node(cpus=2, gpus=0))


@pytest.fixture
def make(sqlite: Database, jobs: ScriptedJobs, clock: FakeClock) -> Callable[..., Coordinator]:
    """Makes coordinators on the same database and cluster."""

    def made(max_running_searches: int = 1, max_attempts: int = 3) -> Coordinator:
        return Coordinator(
            sqlite,
            jobs,
            lease_s=LEASE_S,
            max_running_searches=max_running_searches,
            max_attempts=max_attempts,
            clock=clock,
            monotonic=clock.watch,
        )

    return made


@pytest.fixture
def coordinator(make: Callable[..., Coordinator]) -> Coordinator:
    return make()


def work_of(database: Database, resource_id: str) -> WorkRow:
    with database.read() as session:
        return queue.of_resource(session, resource_id)


def started_search(database: Database, coordinator: Coordinator) -> str:
    """A search whose driver was submitted; its id."""
    search_id = factories.add_search(database).id
    events = coordinator.step()
    assert [event.action for event in events] == [Action.STARTED]
    return search_id


def test_work_is_started_oldest_first_under_a_lease(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator
) -> None:
    with sqlite.write() as session:
        first = datasets.create(session, factories.dataset_spec("first")).id
        second = datasets.create(session, factories.dataset_spec("second")).id

    events = coordinator.step()

    assert events == [
        CoordinatorEvent(Action.STARTED, f"dataset_check-{first}", f"job dataset_check-{first}-1"),
        CoordinatorEvent(
            Action.STARTED, f"dataset_check-{second}", f"job dataset_check-{second}-1"
        ),
    ]
    assert work_of(sqlite, first).status is WorkStatus.LEASED
    job = f"dataset_check-{first}-1"
    assert jobs.commands[job] == [
        *("python", "-m", "searchd.driver"),
        *(f"--work=dataset_check-{first}", "--lease=1"),
    ]
    assert jobs.metadata[job] == {
        "dataset_check": first,
        "name": "first",
        "job_name": "dataset_check first",
    }


def test_running_work_is_left_alone_and_finished_work_forgotten(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator
) -> None:
    with sqlite.write() as session:
        dataset = datasets.create(session, factories.dataset_spec()).id
    coordinator.step()
    jobs.statuses[f"dataset_check-{dataset}-1"] = JobStatus.RUNNING
    assert coordinator.step() == []

    with sqlite.write() as session:
        lease = queue.lease_of(queue.of_resource(session, dataset))
        datasets.record_ready(session, lease, {"class_names": ["a"]})
    jobs.statuses[f"dataset_check-{dataset}-1"] = JobStatus.SUCCEEDED
    assert coordinator.step() == []


def test_pool_and_search_wait_until_their_data_set_is_checked(
    sqlite: Database, coordinator: Coordinator
) -> None:
    factories.add_dataset(sqlite, ready=False)
    pool = factories.add_pool(sqlite, ready=False)
    search = factories.add_search(sqlite).id

    actions = [event.action for event in coordinator.step()]

    assert actions == [Action.STARTED, Action.WAITS, Action.WAITS]
    with sqlite.read() as session:
        assert pools.get(session, pool).status_reason == "waits for data set shapes to be checked"
        assert searches.get(session, search).status is SearchStatus.QUEUED


def test_search_fails_when_its_data_set_fails(sqlite: Database, coordinator: Coordinator) -> None:
    dataset = factories.add_dataset(sqlite, ready=False)
    search = factories.add_search(sqlite).id
    with factories.leased(sqlite, f"dataset_check-{dataset}") as (session, lease):
        queue.finish(session, lease, DatasetStatus.FAILED, "train.json: no such file")

    coordinator.step()

    with sqlite.read() as session:
        row = searches.get(session, search)
    assert row.status is SearchStatus.FAILED
    assert row.status_reason == "data set shapes failed its check: train.json: no such file"


def test_search_fails_when_its_pool_fails(sqlite: Database, coordinator: Coordinator) -> None:
    factories.add_dataset(sqlite)
    pool = factories.add_pool(sqlite, ready=False)
    search = factories.add_search(sqlite).id
    with factories.leased(sqlite, f"pool-{pool}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        queue.finish(session, lease, PoolStatus.FAILED, "non_finite_loss")

    coordinator.step()

    with sqlite.read() as session:
        reason = searches.get(session, search).status_reason
    assert reason == "pool teachers is failed: non_finite_loss"


def test_further_searches_wait_while_the_most_are_running(
    sqlite: Database, coordinator: Coordinator
) -> None:
    started_search(sqlite, coordinator)
    second = factories.add_search(sqlite, "second").id

    assert [event.action for event in coordinator.step()] == [Action.WAITS]

    with sqlite.read() as session:
        reason = searches.get(session, second).status_reason
    assert reason == "waits: 1 searches are running, the maximum is 1"


def test_two_searches_run_when_two_may(sqlite: Database, make: Callable[..., Coordinator]) -> None:
    factories.add_search(sqlite, "first")
    factories.add_search(sqlite, "second")

    events = make(max_running_searches=2).step()

    assert [event.action for event in events] == [Action.STARTED, Action.STARTED]


@pytest.mark.parametrize(
    ("resources", "reason"),
    [
        (
            ResourcesSpec(cpus_per_trial=4),
            "unschedulable: each trial needs 4 CPUs and 0 GPUs, and the cluster has capacity for "
            "0 of 1; its nodes have 2 CPUs and 0 GPUs",
        ),
        (
            ResourcesSpec(gpus_per_trial=0.5),
            "unschedulable: each trial needs 1 CPUs and 0.5 GPUs, and the cluster has capacity for "
            "0 of 1; its nodes have 2 CPUs and 0 GPUs",
        ),
    ],
)
def test_search_that_no_node_can_ever_run_fails_at_once(
    sqlite: Database, coordinator: Coordinator, resources: ResourcesSpec, reason: str
) -> None:
    factories.add_search(sqlite, "fits")
    with sqlite.write() as session:
        search = searches.create(session, factories.search_spec("large", resources=resources)).id

    events = coordinator.step()

    assert events[1] == CoordinatorEvent(Action.GAVE_UP, f"search-{search}", reason)
    with sqlite.read() as session:
        assert searches.get(session, search).status is SearchStatus.FAILED
    assert work_of(sqlite, search).status is WorkStatus.FAILED


def test_pool_fails_at_once_when_the_nodes_have_no_capacity_for_all_its_workers(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator
) -> None:
    jobs.cluster = [Node(cpus=8, gpus=2), Node(cpus=8, gpus=1)]
    factories.add_dataset(sqlite)
    with sqlite.write() as session:
        spec = PoolSpec(name="large", dataset="shapes", num_workers=4, gpus_per_worker=1)
        fits = spec.model_copy(update={"name": "fits", "num_workers": 3})
        pools.create(session, spec)
        pools.create(session, fits)

    assert [event.action for event in coordinator.step()] == [Action.GAVE_UP, Action.STARTED]


def test_work_waits_while_the_cluster_has_no_node(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator
) -> None:
    jobs.cluster = []
    factories.add_search(sqlite)

    (event,) = coordinator.step()

    assert (event.action, event.reason) == (Action.WAITS, "waits: the cluster has no node yet")


def test_crashed_driver_is_started_again_after_a_back_off(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock
) -> None:
    search = started_search(sqlite, coordinator)
    jobs.statuses[f"search-{search}-1"] = JobStatus.FAILED

    (event,) = coordinator.step()
    assert event == CoordinatorEvent(
        Action.REQUEUED,
        f"search-{search}",
        f"the driver exited without finishing (job search-{search}-1 is failed); restarts in 1 s",
    )
    assert coordinator.step() == []

    clock.pass_s(1)
    (event,) = coordinator.step()
    assert event.reason == f"job search-{search}-2"
    assert jobs.commands[f"search-{search}-2"][-1] == "--lease=2"


def test_back_off_doubles_with_every_crash(
    sqlite: Database, jobs: ScriptedJobs, make: Callable[..., Coordinator], clock: FakeClock
) -> None:
    coordinator = make(max_attempts=9)
    search = started_search(sqlite, coordinator)
    delays = []
    for lease in range(1, 9):
        jobs.statuses[f"search-{search}-{lease}"] = JobStatus.FAILED
        coordinator.step()
        delays.append(work_of(sqlite, search).not_before - clock.now)
        clock.pass_s(60)
        coordinator.step()

    assert [delay.total_seconds() for delay in delays] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_admitted_search_keeps_its_place_when_its_driver_crashes(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock
) -> None:
    search = started_search(sqlite, coordinator)
    with sqlite.write() as session:
        lease = queue.lease_of(queue.of_resource(session, search))
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
    factories.add_search(sqlite, "second")
    jobs.statuses[f"search-{search}-1"] = JobStatus.FAILED

    assert [event.action for event in coordinator.step()] == [Action.REQUEUED, Action.WAITS]
    clock.pass_s(1)
    assert [event.action for event in coordinator.step()] == [Action.STARTED, Action.WAITS]


def test_driver_that_crashes_too_often_is_given_up_with_the_end_of_its_log(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock
) -> None:
    search = started_search(sqlite, coordinator)
    for lease in (1, 2):
        jobs.statuses[f"search-{search}-{lease}"] = JobStatus.FAILED
        coordinator.step()
        clock.pass_s(60)
        coordinator.step()
    jobs.statuses[f"search-{search}-3"] = JobStatus.FAILED
    jobs.logs[f"search-{search}-3"] = "Traceback\nKeyError: 'class_names'"

    (event,) = coordinator.step()

    assert event.action is Action.GAVE_UP
    with sqlite.read() as session:
        row = searches.get(session, search)
    assert row.status is SearchStatus.FAILED
    assert row.status_reason == (
        "given up after 3 attempts: the driver exited without finishing "
        f"(job search-{search}-3 is failed); its log ends:\nTraceback\nKeyError: 'class_names'"
    )


def test_crashes_are_forgotten_when_the_driver_gets_on(
    sqlite: Database, jobs: ScriptedJobs, make: Callable[..., Coordinator]
) -> None:
    coordinator = make(max_attempts=1)
    search = started_search(sqlite, coordinator)
    with sqlite.write() as session:
        queue.reset_attempts(session, queue.lease_of(queue.of_resource(session, search)))
    jobs.statuses[f"search-{search}-1"] = JobStatus.FAILED

    assert [event.action for event in coordinator.step()] == [Action.REQUEUED]


def running_search(
    database: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock
) -> str:
    """A search whose driver has shown a sign of life; its id."""
    search = started_search(database, coordinator)
    jobs.statuses[f"search-{search}-1"] = JobStatus.RUNNING
    assert coordinator.step() == []
    clock.pass_s(1)
    with database.write() as session:
        lease = queue.lease_of(queue.of_resource(session, search))
        assert queue.extend(session, lease, lease_s=LEASE_S, now=clock.now)
    return search


def test_silent_driver_is_stopped_first_and_started_again_once_it_has_ended(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock
) -> None:
    search = running_search(sqlite, jobs, coordinator, clock)
    assert coordinator.step() == []
    clock.pass_s(LEASE_S)

    assert [event.action for event in coordinator.step()] == [Action.STOPPED]
    assert jobs.statuses[f"search-{search}-1"] is JobStatus.STOPPED
    assert work_of(sqlite, search).status is WorkStatus.LEASED
    assert [event.action for event in coordinator.step()] == [Action.REQUEUED]


def test_driver_that_starts_slowly_is_not_ended_as_one_that_has_gone_silent(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock
) -> None:
    search = started_search(sqlite, coordinator)
    jobs.statuses[f"search-{search}-1"] = JobStatus.PENDING
    assert coordinator.step() == []

    clock.pass_s(299)
    assert coordinator.step() == []
    clock.pass_s(1)
    assert [event.action for event in coordinator.step()] == [Action.STOPPED]


@pytest.mark.parametrize("hours", [5, -5])
def test_clock_that_is_put_forward_or_back_costs_no_driver_its_lease(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock, hours: float
) -> None:
    running_search(sqlite, jobs, coordinator, clock)
    assert coordinator.step() == []

    clock.put_forward(hours=hours)
    assert coordinator.step() == []
    clock.pass_s(LEASE_S)
    assert [event.action for event in coordinator.step()] == [Action.STOPPED]


def test_driver_whose_clock_is_late_keeps_its_lease_as_long_as_it_shows_signs_of_life(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock
) -> None:
    search = started_search(sqlite, coordinator)
    jobs.statuses[f"search-{search}-1"] = JobStatus.RUNNING

    for _ in range(3):
        clock.pass_s(LEASE_S / 2)
        with sqlite.write() as session:
            lease = queue.lease_of(queue.of_resource(session, search))
            late = clock.now - timedelta(hours=1)
            assert queue.extend(session, lease, lease_s=LEASE_S, now=late)
        assert coordinator.step() == []


def test_work_is_started_again_though_the_clock_was_put_back_since_its_driver_died(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock
) -> None:
    search = started_search(sqlite, coordinator)
    jobs.statuses[f"search-{search}-1"] = JobStatus.FAILED
    assert [event.action for event in coordinator.step()] == [Action.REQUEUED]

    clock.put_forward(hours=-1)

    assert [event.action for event in coordinator.step()] == [Action.STARTED]


def test_lease_without_a_job_is_respected_until_it_expires(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, clock: FakeClock
) -> None:
    search = started_search(sqlite, coordinator)
    del jobs.statuses[f"search-{search}-1"]  # Ray was restarted, or a driver started by hand

    assert coordinator.step() == []
    clock.pass_s(LEASE_S)
    assert [event.action for event in coordinator.step()] == [Action.REQUEUED]


def test_crash_is_no_crash_when_the_driver_finished_since_its_row_was_read(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = started_search(sqlite, coordinator)

    def finish_meanwhile(_job_id: str) -> JobStatus:
        with sqlite.write() as session:
            lease = queue.lease_of(queue.of_resource(session, search))
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
            queue.finish(session, lease, SearchStatus.FAILED, "the base could not be trained")
        return JobStatus.SUCCEEDED

    monkeypatch.setattr(jobs, "status", finish_meanwhile)

    assert coordinator.step() == []
    assert work_of(sqlite, search).status is WorkStatus.DONE


def test_work_that_another_coordinator_leases_first_is_left_to_it(
    sqlite: Database,
    jobs: ScriptedJobs,
    make: Callable[..., Coordinator],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coordinator, other = make(), make()
    with sqlite.write() as session:
        running = datasets.create(session, factories.dataset_spec("running")).id
    coordinator.step()
    with sqlite.write() as session:
        contended = datasets.create(session, factories.dataset_spec("contended")).id
    scripted_status = jobs.status

    def others_step_meanwhile(job_id: str) -> JobStatus:
        monkeypatch.setattr(jobs, "status", scripted_status)
        assert [event.action for event in other.step()] == [Action.STARTED]
        return jobs.status(job_id)

    monkeypatch.setattr(jobs, "status", others_step_meanwhile)

    assert coordinator.step() == []
    assert sorted(jobs.commands) == sorted(
        [f"dataset_check-{running}-1", f"dataset_check-{contended}-1"]
    )


def test_nothing_is_decided_while_ray_does_not_answer(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator
) -> None:
    search = started_search(sqlite, coordinator)
    jobs.reachable = False

    with pytest.raises(ClusterUnreachableError):
        coordinator.step()

    assert work_of(sqlite, search).status is WorkStatus.LEASED


def test_work_is_queued_again_when_ray_refuses_its_driver(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = factories.add_search(sqlite).id

    def refuse(*_: object) -> None:
        raise ClusterUnreachableError("Ray at http://scripted does not answer: no agent")

    monkeypatch.setattr(jobs, "submit", refuse)

    (event,) = coordinator.step()

    reason = "Ray at http://scripted does not answer: no agent"
    assert event == CoordinatorEvent(Action.REQUEUED, f"search-{search}", reason)
    assert work_of(sqlite, search).status is WorkStatus.QUEUED


ASKS = {
    "pause": requests.ask_to_pause,
    "cancel": requests.ask_to_cancel,
    "kill": requests.ask_to_kill,
    "resume": requests.ask_to_resume,
}


def ask(database: Database, search: str, verb: str) -> None:
    with database.write() as session:
        ASKS[verb](session, search)


def status_of(database: Database, search: str) -> SearchStatus:
    with database.read() as session:
        return searches.get(session, search).status


@pytest.mark.parametrize("job", [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.FAILED])
def test_killed_search_is_cancelled_in_the_next_round_whatever_its_driver_does(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, job: JobStatus
) -> None:
    search = started_search(sqlite, coordinator)
    jobs.statuses[f"search-{search}-1"] = job
    ask(sqlite, search, "kill")

    events = coordinator.step()

    assert events == [CoordinatorEvent(Action.CANCELLED, f"search-{search}", "killed by a user")]
    assert not jobs.statuses[f"search-{search}-1"].is_alive
    assert status_of(sqlite, search) is SearchStatus.CANCELLED
    assert work_of(sqlite, search).status is WorkStatus.DONE
    assert coordinator.step() == []


def test_search_that_ends_while_it_is_to_be_killed_keeps_its_end(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = started_search(sqlite, coordinator)
    ask(sqlite, search, "kill")

    def finish_meanwhile(_job_id: str) -> None:
        with sqlite.write() as session:
            lease = queue.lease_of(queue.of_resource(session, search))
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
            queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
            queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")

    monkeypatch.setattr(jobs, "stop", finish_meanwhile)

    assert coordinator.step() == []
    assert status_of(sqlite, search) is SearchStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("verb", "action", "status"),
    [
        ("pause", Action.PAUSED, SearchStatus.PAUSED),
        ("cancel", Action.CANCELLED, SearchStatus.CANCELLED),
    ],
)
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_driver_that_dies_before_it_has_stopped_is_not_restarted(
    sqlite: Database,
    jobs: ScriptedJobs,
    make: Callable[..., Coordinator],
    verb: str,
    action: Action,
    status: SearchStatus,
    max_attempts: int,
) -> None:
    coordinator = make(max_attempts=max_attempts)
    search = started_search(sqlite, coordinator)
    ask(sqlite, search, verb)
    jobs.statuses[f"search-{search}-1"] = JobStatus.FAILED

    assert [event.action for event in coordinator.step()] == [action]

    assert status_of(sqlite, search) is status
    assert coordinator.step() == []


def test_paused_search_frees_its_place_and_waits_for_its_turn_when_it_is_resumed(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator
) -> None:
    first = started_search(sqlite, coordinator)
    second = factories.add_search(sqlite, "second").id
    ask(sqlite, first, "pause")
    assert [event.action for event in coordinator.step()] == [Action.WAITS]
    with sqlite.write() as session:
        queue.stopped(session, queue.lease_of(queue.of_resource(session, first)))

    assert [event.work_id for event in coordinator.step()] == [f"search-{second}"]
    ask(sqlite, first, "resume")
    (event,) = coordinator.step()
    assert (event.action, event.work_id) == (Action.WAITS, f"search-{first}")
    ask(sqlite, second, "kill")
    assert [event.action for event in coordinator.step()] == [Action.CANCELLED, Action.STARTED]
    assert jobs.commands[f"search-{first}-2"][-1] == "--lease=2"


def test_search_that_is_paused_while_its_refusal_is_decided_is_left_alone(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = started_search(sqlite, coordinator)
    with sqlite.write() as session:
        spec = factories.search_spec("large", resources=ResourcesSpec(cpus_per_trial=4))
        large = searches.create(session, spec).id

    def pause_meanwhile(_job_id: str) -> JobStatus:
        ask(sqlite, large, "pause")
        return JobStatus.RUNNING

    monkeypatch.setattr(jobs, "status", pause_meanwhile)

    assert coordinator.step() == []
    assert status_of(sqlite, large) is SearchStatus.PAUSED
    assert status_of(sqlite, running) is SearchStatus.QUEUED


def test_search_that_is_cancelled_before_it_starts_never_runs(
    sqlite: Database, jobs: ScriptedJobs, coordinator: Coordinator
) -> None:
    search = factories.add_search(sqlite).id
    with sqlite.write() as session:
        requests.ask_to_cancel(session, search)

    assert coordinator.step() == []

    with sqlite.read() as session:
        assert searches.get(session, search).status is SearchStatus.CANCELLED
    assert jobs.commands == {}
