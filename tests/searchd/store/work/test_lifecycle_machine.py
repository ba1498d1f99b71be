"""Random calls of users, crashes, hangs, lost leases and full disks never lead to a state that the
tables do not know, never touch what is finished, and never start what a user stopped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.coordinator.disk_guard import DiskGuard
from searchd.coordinator.jobs import JobStatus, Node
from searchd.coordinator.loop import Coordinator, job_of
from searchd.domain.errors import ConflictError, StaleLeaseError
from searchd.domain.lifecycle import (
    AnyStatus,
    PoolStatus,
    ResourceStatus,
    SearchStatus,
    TeacherStatus,
    TrialStatus,
    WorkStatus,
)
from searchd.domain.transitions import is_final, next_statuses
from searchd.domain.trial import Outcome
from searchd.messages.reports import Report, TeacherTrainingReport
from searchd.store import Database, Desired, DesiredBy, Lease, events
from searchd.store.models import PoolRow, RunRow, TeacherRow, TrialRow, WorkRow
from searchd.store.models.resources import AnyResource
from searchd.store.resources import pools, teachers
from searchd.store.runs import reports, trials
from searchd.store.runs.extension import ask_to_extend
from searchd.store.work import queue, requests, status_changes
from searchd.store.work.lease import hold
from tests.searchd.conftest import FakeClock
from tests.searchd.coordinator.scripted_jobs import ScriptedJobs
from tests.searchd.store import factories
from tests.searchd.store.conftest import emptied
from tests.strength import examples

LEASE_S = 60.0
ASKS = (
    *(requests.ask_to_pause, requests.ask_to_resume) * 2,
    requests.ask_to_cancel,
    requests.ask_to_kill,
    ask_to_extend,
)
STOPS = (requests.ask_to_pause, requests.ask_to_cancel, requests.ask_to_kill)
NUMBERS = st.integers(0, 4)
"""Which of the resources: the pool, three searches, and a teacher that is trained."""
REACHED: set[str] = set()
"""Statuses that were seen."""


class Users(RuleBasedStateMachine):
    """One pool, three searches of it, two of which may run at a time, a teacher that is trained, a
    coordinator with its disk guard, a disk that fills, and drivers of which each does one step at a
    time, crashes, or hangs."""

    database: Database

    @initialize()
    def begin(self) -> None:
        emptied(self.database)
        self.clock = FakeClock()
        self.seconds = 0.0
        self.jobs = ScriptedJobs(Node(cpus=8, gpus=0))
        self.free_bytes = 100e9
        self.guard = DiskGuard(
            [Path("/artifacts")], min_free_gb=2, free_bytes=lambda _: int(self.free_bytes)
        )
        self.coordinator = Coordinator(
            self.database,
            self.jobs,
            lease_s=LEASE_S,
            max_running_searches=2,
            max_attempts=3,
            clock=self.clock,
            monotonic=lambda: self.seconds,
            guard=self.guard,
        )
        factories.add_dataset(self.database)
        self.ids = [factories.add_pool(self.database, ready=False)]
        self.ids += [factories.add_search(self.database, name).id for name in ("a", "b", "c")]
        self.ids.append(factories.add_teacher(self.database, ready=False))
        self.leases: set[Lease] = set()
        self.seen = dict.fromkeys(self.ids, 0)
        self.statuses: dict[str, str] = {}
        self.finished: dict[str, tuple[object, ...]] = {}
        self.stopped: dict[int, int] = {}
        """The lease that was granted last when a user paused, cancelled or killed a resource."""
        self.coordinator_goes_round(1)
        begun: dict[int, ResourceStatus] = {
            0: PoolStatus.TRAINING,
            1: SearchStatus.PREPARING,
            4: TeacherStatus.TRAINING,
        }
        for number, to in begun.items():
            with self.driver(number) as (session, lease, _):
                queue.advance(session, lease, to, "its driver has started")

    # What happens

    @rule(number=NUMBERS, ask=st.sampled_from(ASKS))
    def user_asks_twice(self, number: int, ask: Callable[..., WorkRow]) -> None:
        with suppress(ConflictError):
            self.ask(number, ask)
            before = self.state(number)
            self.ask(number, ask)
            assert self.state(number) == before

    @rule(number=st.integers(1, 3), max_trials=st.integers(101, 110))
    def user_gives_more_budget(self, number: int, max_trials: int) -> None:
        more = {"max_trials": max_trials, "patience": 20}
        with suppress(ConflictError):
            self.ask(number, lambda session, each: ask_to_extend(session, each, more))

    @rule(rounds=st.integers(1, 3))
    def coordinator_goes_round(self, rounds: int) -> None:
        for _ in range(rounds):
            self.coordinator.step()
            self.pass_s(1)
        with self.database.read() as session:
            self.leases.update(queue.lease_of(row) for row in queue.leased(session))

    @rule(free_gb=st.sampled_from([0.1, 1.5]))
    def disk_fills(self, free_gb: float) -> None:
        """Up to where running work is paused, or where only no work is started any more."""
        self.free_bytes = free_gb * 1e9

    @rule()
    def disk_has_space_again(self) -> None:
        self.free_bytes = 100e9

    @rule(rounds=st.integers(1, 2))
    def guard_steps(self, rounds: int) -> None:
        for _ in range(rounds):
            self.guard.step(self.database)

    @rule(number=NUMBERS, ask=st.sampled_from(ASKS), has_seen=st.booleans())
    def user_asks_while_the_guard_is_pausing(
        self, number: int, ask: Callable[..., WorkRow], has_seen: bool
    ) -> None:
        self.disk_fills(0.1)
        self.guard_steps(1)
        if has_seen and self.work(number).status is WorkStatus.LEASED:
            with self.driver(number) as (session, lease, _):
                queue.acknowledge_stop(session, lease)
        self.user_asks_twice(number, ask)
        self.disk_has_space_again()
        self.guard_steps(1)

    @rule(seconds=st.sampled_from([1.0, LEASE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        """As every driver hangs: none extends its lease."""
        self.pass_s(seconds)

    @rule(number=NUMBERS)
    def driver_crashes(self, number: int) -> None:
        job = job_of(queue.lease_of(self.work(number)))
        if self.jobs.status(job).is_alive:
            self.jobs.statuses[job] = JobStatus.FAILED

    @rule(number=NUMBERS, steps=st.integers(1, 6), data=st.data())
    def driver_gets_on(self, number: int, steps: int, data: st.DataObject) -> None:
        for _ in range(steps):
            if self.work(number).status is WorkStatus.LEASED:
                with self.driver(number) as (session, lease, row):
                    self.drive(session, lease, row, data)

    @rule(number=NUMBERS)
    def driver_stops_as_it_is_asked(self, number: int) -> None:
        held = self.work(number)
        with self.database.read() as session:
            is_pausing = status_changes.is_pausing(held, self.row(session, number))
        wants_stop = held.desired is not Desired.RUN or is_pausing
        if held.status is not WorkStatus.LEASED or not wants_stop:
            return
        with self.driver(number) as (session, lease, _):
            queue.acknowledge_stop(session, lease)
        with self.driver(number) as (session, lease, _):
            queue.stopped(session, lease)

    @rule(number=NUMBERS, ask=st.sampled_from([requests.ask_to_pause, requests.ask_to_cancel]))
    def driver_sees_that_it_is_to_stop(self, number: int, ask: Callable[..., WorkRow]) -> None:
        if self.work(number).status is WorkStatus.LEASED:
            with suppress(ConflictError):
                self.ask(number, ask)
            with self.driver(number) as (session, lease, _):
                queue.acknowledge_stop(session, lease)

    @rule(data=st.data())
    def driver_writes_too_late(self, data: st.DataObject) -> None:
        late = sorted(self.leases - self.valid_leases(), key=str)
        if not late:
            return
        lease = data.draw(st.sampled_from(late))
        writes: list[Callable[[Session], object]] = [
            lambda session: queue.stopped(session, lease),
            lambda session: queue.finish(session, lease, SearchStatus.SUCCEEDED, "late"),
            lambda session: trials.add(session, lease, factories.search_proposal(99)),
        ]
        write = data.draw(st.sampled_from(writes))
        with pytest.raises(StaleLeaseError), self.database.write() as session:
            write(session)

    # How a driver gets on, as `searchd.driver` does

    def drive(self, session: Session, lease: Lease, row: AnyResource, data: st.DataObject) -> None:
        held = queue.get(session, lease.work_id)
        queue.extend(session, lease, lease_s=LEASE_S, now=self.clock())
        if isinstance(row, PoolRow):
            self.drive_pool(session, lease, row, data)
        elif isinstance(row, TeacherRow):
            self.drive_teacher(session, lease, row, data)
        elif row.status is SearchStatus.QUEUED:
            queue.advance(session, lease, SearchStatus.PREPARING, "its driver has started")
            for trial in trials.unfinished(session, row.id):
                if trial.status is TrialStatus.RUNNING:
                    trials.requeue_trial(session, lease, trial.name, "its driver died")
        elif row.status is SearchStatus.PREPARING and held.desired is Desired.RUN:
            queue.advance(session, lease, SearchStatus.RUNNING, "base and pool are ready")
        else:
            assert isinstance(row, RunRow)
            self.drive_trials(session, lease, row, data)

    def drive_pool(self, session: Session, lease: Lease, row: PoolRow, data: st.DataObject) -> None:
        if row.status is PoolStatus.QUEUED:
            queue.advance(session, lease, PoolStatus.TRAINING, "its driver has started")
            return
        outcomes = [Outcome.SUCCEEDED, Outcome.STOPPED, Outcome.FAILED]
        outcome = data.draw(st.sampled_from(outcomes))
        pools.record_report(session, lease, factories.pool_report(row.id, outcome, "said so"))

    def drive_teacher(
        self, session: Session, lease: Lease, row: TeacherRow, data: st.DataObject
    ) -> None:
        if row.status is TeacherStatus.QUEUED:
            queue.advance(session, lease, TeacherStatus.TRAINING, "its driver has started")
            return
        outcomes = [Outcome.SUCCEEDED, Outcome.STOPPED, Outcome.FAILED]
        outcome = data.draw(st.sampled_from(outcomes))
        report = TeacherTrainingReport(
            teacher=row.id,
            attempt=lease.number,
            outcome=outcome,
            reason="said so",
            result=factories.teacher_report() if outcome is Outcome.SUCCEEDED else None,
        )
        teachers.record_training(session, lease, report)

    def drive_trials(
        self, session: Session, lease: Lease, row: RunRow, data: st.DataObject
    ) -> None:
        """A trial is proposed, begun, ended; or the search ends."""
        unfinished = trials.unfinished(session, row.id)
        running = [trial for trial in unfinished if trial.status is TrialStatus.RUNNING]
        if running:
            trial = data.draw(st.sampled_from(running))
            outcome = data.draw(
                st.sampled_from([Outcome.SUCCEEDED, Outcome.STOPPED, Outcome.FAILED])
            )
            report = Report(trial=trial.name, attempt=trial.attempt, outcome=outcome, reason="so")
            if outcome is Outcome.SUCCEEDED:
                report = factories.succeeded(trial.name, attempt=trial.attempt)
            reports.record(session, lease, report, factories.scores_of(report))
        elif unfinished:
            trials.start(session, lease, unfinished[0].name)
        elif row.status is SearchStatus.RUNNING and data.draw(st.booleans()):
            to = data.draw(st.sampled_from([SearchStatus.SUCCEEDED, SearchStatus.FAILED]))
            queue.finish(session, lease, to, "has come to its end")
        else:
            number = len(trials.of_search(session, row.id))
            proposal = factories.search_proposal(number) if number else factories.base_proposal()
            trials.add(session, lease, proposal)

    @contextmanager
    def driver(self, number: int) -> Iterator[tuple[Session, Lease, Any]]:
        with self.database.write() as session:
            held = queue.of_resource(session, self.ids[number])
            job = job_of(queue.lease_of(held))
            self.jobs.statuses[job] = JobStatus.RUNNING
            yield session, queue.lease_of(held), queue.resource(session, held)

    # What always holds

    @invariant()
    def all_is_well(self) -> None:
        with self.database.read() as session:
            rows = [(self.row(session, number), self.held(session, number)) for number in range(5)]
            for number, (row, held) in enumerate(rows):
                check_agreement(row, held)
                if number in self.stopped:
                    check_stays_stopped(held, self.stopped[number])
            self.check_steps(session)
            self.check_trials(session, {row.id: row for row, _ in rows})
            REACHED.update(str(row.status) for row, _ in rows)

    def check_steps(self, session: Session) -> None:
        """Every status was reached as the tables say."""
        for resource_id in self.ids:
            for event in events.after(session, resource_id, self.seen[resource_id]):
                self.seen[resource_id] = event.number
                last = self.statuses.get(event.subject, event.status)
                kind = self.kind(event.subject)
                known = {str(status) for status in next_statuses(kind(last))} | {last}
                assert event.status in known, f"{event.subject}: {last} to {event.status}"
                self.statuses[event.subject] = event.status

    def check_trials(self, session: Session, rows: dict[str, AnyResource]) -> None:
        """What is finished never changes, and nothing runs in what does not."""
        now = {}
        for trial in session.scalars(select(TrialRow)):
            now[trial.id] = (trial.status, trial.completion, trial.attempt, trial.score)
            search = rows[trial.run_id]
            assert is_final(trial.status) or not is_final(search.status)
            assert trial.status is not TrialStatus.RUNNING or str(search.status) != "paused"
        assert {key: now[key] for key in self.finished} == self.finished
        self.finished = {key: value for key, value in now.items() if value[1] is not None}

    def teardown(self) -> None:
        """Whatever happened: a kill ends everything, in one round."""
        for resource_id in self.ids:
            with suppress(ConflictError), self.database.write() as session:
                requests.ask_to_kill(session, resource_id)
        self.coordinator.step()
        self.all_is_well()
        with self.database.read() as session:
            for number in range(5):
                assert is_final(self.row(session, number).status)
            for lease in self.leases:
                with pytest.raises(StaleLeaseError):
                    hold(session, lease)

    def ask(self, number: int, ask: Callable[..., WorkRow]) -> None:
        """Call as the API does, and note what the user asked last.

        Raises:
            ConflictError: The request is refused; the last request stays in force.
        """
        with self.database.write() as session:
            had_ended = is_final(self.row(session, number).status)
            held = ask(session, self.ids[number])
            restarts = ask is requests.ask_to_resume or (had_ended and not is_final(held.status))
            if restarts:
                self.stopped.pop(number, None)
            elif ask in STOPS and not had_ended:
                self.stopped[number] = held.lease

    # How it is seen

    def pass_s(self, seconds: float) -> None:
        self.clock.pass_s(seconds)
        self.seconds += seconds

    def work(self, number: int) -> WorkRow:
        with self.database.read() as session:
            return self.held(session, number)

    def held(self, session: Session, number: int) -> WorkRow:
        return queue.of_resource(session, self.ids[number])

    def row(self, session: Session, number: int) -> AnyResource:
        return queue.resource(session, self.held(session, number))

    def state(self, number: int) -> tuple[object, ...]:
        with self.database.read() as session:
            row, held = self.row(session, number), self.held(session, number)
        return row.status, row.num_events, held.status, held.desired, held.lease

    def valid_leases(self) -> set[Lease]:
        with self.database.read() as session:
            return {queue.lease_of(row) for row in queue.leased(session)}

    def kind(self, subject: str) -> Callable[[str], AnyStatus]:
        """Of whose statuses a subject's is."""
        if subject in self.ids:
            kinds: dict[str, Callable[[str], AnyStatus]] = {
                self.ids[0]: PoolStatus,
                self.ids[4]: TeacherStatus,
            }
            return kinds.get(subject, SearchStatus)
        return TrialStatus


def check_agreement(row: AnyResource, held: WorkRow) -> None:
    """Work and what it serves agree."""
    status = str(row.status)
    assert row.status_reason
    assert is_final(row.status) == is_final(held.status)
    assert (row.finished_at is not None) == is_final(row.status)
    assert (status == "paused") == (held.status is WorkStatus.PAUSED)
    assert status != "paused" or held.desired is Desired.PAUSE
    assert (held.lease_expires_at is not None) == (held.status is WorkStatus.LEASED)
    if held.status is WorkStatus.QUEUED:
        assert held.desired is Desired.RUN
        assert status not in ("pausing", "cancelling")


def check_stays_stopped(held: WorkRow, lease: int) -> None:
    """What a user stopped last is never queued or leased again by itself."""
    assert held.status is not WorkStatus.QUEUED
    assert held.lease == lease
    assert held.desired is not Desired.RUN
    assert held.desired_by is DesiredBy.USER


@pytest.mark.fuzz
@pytest.mark.timeout(600)
def test_random_calls_and_crashes_never_reach_an_illegal_state(memory_database: Database) -> None:
    class Machine(Users):
        database = memory_database

    REACHED.clear()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples(26, 300),
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert {*map(str, SearchStatus), *map(str, PoolStatus)} == REACHED, "or it tries too little"
