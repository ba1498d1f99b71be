"""Trials are recorded once, in order, with everything the worker learned."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

import pytest

from searchd.domain.errors import (
    ConflictError,
    IllegalTransitionError,
    InvalidValueError,
    NotFoundError,
)
from searchd.domain.lifecycle import FailureCause, TrialStatus
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import TeacherCandidates
from searchd.domain.trial import Outcome
from searchd.messages.reports import Report, SanityChecks
from searchd.store import Database, events
from searchd.store.models import RunRow
from searchd.store.resources import searches
from searchd.store.runs import completions, reports, trials
from searchd.store.work import queue, requests
from tests.searchd.store.factories import (
    LARGE,
    SMALL,
    artifact,
    base_proposal,
    detector,
    epoch,
    finish_proposal,
    pool_spec,
    progress,
    refused,
    run_trial,
    scores_of,
    search_proposal,
    start_search,
    succeeded,
)


def test_a_proposal_is_stored_as_a_pending_trial(database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        row = trials.add(session, lease, search_proposal(0))
    assert (row.id, row.parent_id) == (f"{search.id}-0", f"{search.id}-base")
    assert (row.status, row.position, row.attempt) == (TrialStatus.PENDING, 1, 0)
    with database.read() as session:
        assert trials.proposals(session, search.id) == [base_proposal(), search_proposal(0)]
        assert [t.name for t in trials.unfinished(session, search.id)] == ["base", "0"]


def test_a_proposal_is_stored_once(database: Database) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
    with refused(database, ConflictError, "-base exists already") as session:
        trials.add(session, lease, base_proposal())


def test_each_start_is_another_attempt(database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        assert trials.start(session, lease, "base") == 1
        trials.record_progress(session, lease, progress("base"))
        trials.requeue_trial(session, lease, "base", "its worker died")
        assert trials.start(session, lease, "base") == 2
    with database.read() as session:
        row = trials.get(session, f"{search.id}-base")
        assert (row.status, row.attempt, row.progress) == (TrialStatus.RUNNING, 2, None)


def test_progress_of_the_present_attempt_is_overwritten(database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")
    for report in (
        progress("base", iteration=5),
        progress("base", iteration=6),
        progress("base", attempt=2, iteration=9),
    ):
        with database.write() as session:
            trials.record_progress(session, lease, report)
    with database.read() as session:
        assert trials.get(session, f"{search.id}-base").progress == progress("base", iteration=6)


def test_a_report_is_stored_whole(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.625))
    with database.read() as session:
        row = trials.get(session, f"{search.id}-base")
    assert (row.status, row.outcome) == (TrialStatus.SUCCEEDED, Outcome.SUCCEEDED)
    assert (row.completion, row.score) == (0, 0.625)
    assert (row.detector, row.params, row.base_macs) == (detector(), 12_345_678, 4e9)
    assert [(e.resolution, e.ap, e.score, e.macs) for e in row.evaluations] == [
        (SMALL, 0.3125, 0.3125, 1e9),
        (LARGE, 0.625, 0.625, 2e9),
    ]
    assert row.best is row.evaluations[1]
    assert [(e.epoch, e.losses) for e in row.epochs] == [(1, {"loss": 1.5}), (2, {"loss": 0.75})]
    assert [a.artifact for a in row.artifacts] == [artifact("student"), artifact("adapters")]
    assert row.finished_at is not None


def test_warnings_of_a_trial_are_events_of_its_search(database: Database) -> None:
    search, lease = start_search(database)
    checks = SanityChecks(
        resolution=LARGE,
        teacher_ap=0.125,
        teacher_ap_floor=0.25,
        undistilled_difference=0.5,
        suspicious="AP is exactly zero",
    )
    run_trial(database, lease, base_proposal(), replace(succeeded("base"), checks=checks))
    with database.read() as session:
        row = trials.get(session, f"{search.id}-base")
        found = [event.message for event in events.after(session, search.id)]
    assert row.checks == checks
    assert [message for message in found if message.startswith("warning")] == [
        "warning: its teacher has AP 12.5% at 96x96, which is not above 25.0%",
        "warning: with distillation switched off its losses differ from plain training's by "
        "5.0e-01",
        "warning: its result is suspicious: AP is exactly zero",
    ]


def test_a_report_recorded_twice_is_recorded_once(database: Database) -> None:
    search, lease = start_search(database)
    report = succeeded("base")
    first = run_trial(database, lease, base_proposal(), report)
    with database.write() as session:
        again = reports.record(session, lease, report, scores_of(report))
    assert (again.id, again.completion) == (first.id, 0)
    with database.read() as session:
        row = trials.get(session, f"{search.id}-base")
        assert (len(row.evaluations), len(row.epochs), len(row.artifacts)) == (2, 2, 2)


def test_a_report_of_an_earlier_attempt_counts(database: Database) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        for _ in range(2):
            trials.start(session, lease, "base")
            trials.requeue_trial(session, lease, "base", "lost")
        trials.start(session, lease, "base")
        report = succeeded("base", attempt=2)
        row = reports.record(session, lease, report, scores_of(report))
    assert (row.status, row.attempt) == (TrialStatus.SUCCEEDED, 3)


def test_a_report_of_an_attempt_that_never_began_is_refused(database: Database) -> None:
    _, lease = start_search(database)
    report = succeeded("base", attempt=2)
    with pytest.raises(InvalidValueError, match="attempt 2, but only 1 started"):
        run_trial(database, lease, base_proposal(), report)


def test_completions_are_numbered_in_the_order_of_their_reports(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    with database.write() as session:
        for number in range(3):
            trials.add(session, lease, search_proposal(number))
            trials.start(session, lease, str(number))
        for name in ("2", "0", "1"):
            report = succeeded(name)
            reports.record(session, lease, report, scores_of(report))
    with database.read() as session:
        rows = trials.completed(session, search.id)
        assert [(row.completion, row.name) for row in rows] == [
            (0, "base"),
            (1, "2"),
            (2, "0"),
            (3, "1"),
        ]
        assert [p.name for p in trials.proposals(session, search.id)] == ["base", "0", "1", "2"]


def test_a_failure_keeps_its_cause_and_words_and_completes(database: Database) -> None:
    _, lease = start_search(database)
    report = Report(
        trial="base",
        attempt=1,
        outcome=Outcome.FAILED,
        cause=FailureCause.NON_FINITE_LOSS,
        reason="loss_bbox is nan in epoch 2",
        epochs=(epoch(1),),
    )
    row = run_trial(database, lease, base_proposal(), report)
    assert (row.status, row.cause) == (TrialStatus.FAILED, FailureCause.NON_FINITE_LOSS)
    assert (row.status_reason, row.completion) == ("loss_bbox is nan in epoch 2", 0)
    assert (row.score, row.detector) == (None, None)


def test_an_action_without_effect_is_skipped_and_completes(database: Database) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    report = Report(trial="0", attempt=1, outcome=Outcome.NO_OP, reason="every conv is at 32")
    row = run_trial(database, lease, search_proposal(0), report)
    assert (row.status, row.cause, row.completion) == (TrialStatus.SKIPPED, None, 1)
    assert row.status_reason == "every conv is at 32"


@pytest.mark.parametrize(
    ("cancel", "status"), [(True, TrialStatus.CANCELLED), (False, TrialStatus.PENDING)]
)
def test_a_stopped_trial_is_cancelled_only_if_a_user_wants_it(
    database: Database, cancel: bool, status: TrialStatus
) -> None:
    search, lease = start_search(database)
    if cancel:
        with database.write() as session:
            requests.ask_to_cancel(session, search.id)
    report = Report(trial="base", attempt=1, outcome=Outcome.STOPPED, reason="stop requested")
    row = run_trial(database, lease, base_proposal(), report)
    assert (row.status, row.completion) == (status, None)


@pytest.mark.parametrize("missing", ["detector", "score", "every score"])
def test_a_success_needs_its_detector_and_scores(database: Database, missing: str) -> None:
    _, lease = start_search(database)
    report = succeeded("base")
    scores = scores_of(report)
    if missing == "detector":
        report = replace(report, detector=None)
    elif missing == "score":
        del scores[SMALL]
    else:
        report, scores = replace(report, evaluations=()), {}
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")
    with refused(database, InvalidValueError, "needs its detector and a score") as session:
        reports.record(session, lease, report, scores)


CANDIDATES = tuple(islice(pool_spec().space.space.subnets(), 3))


def test_the_candidate_that_a_worker_chose_is_what_the_strategy_gets(
    database: Database,
) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    proposal = search_proposal(1, teacher=TeacherCandidates(candidates=CANDIDATES))
    report = replace(succeeded("1"), chosen_teacher=CANDIDATES[1], notes=("chose teacher x",))
    run_trial(database, lease, proposal, report)
    with database.read() as session:
        row = trials.get(session, f"{search.id}-1")
        base, reported = completions.of_run(session, session.get_one(RunRow, search.id))
        messages = [event.message for event in events.after(session, search.id)]
    assert row.proposal == proposal  # as it was made
    assert (row.chosen_teacher, row.teacher) == (CANDIDATES[1], CANDIDATES[1])
    assert (reported.chosen_teacher, reported.teacher) == (CANDIDATES[1], CANDIDATES[1])
    assert (base.chosen_teacher, base.teacher) == (None, None)
    assert "chose teacher x" in messages


@pytest.mark.parametrize("chosen", [None, CANDIDATES[2]])
def test_a_success_chooses_its_teacher_among_the_candidates(
    database: Database, chosen: Subnet | None
) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    report = replace(succeeded("1"), chosen_teacher=chosen)
    with database.write() as session:
        teacher = TeacherCandidates(candidates=CANDIDATES[:2])
        trials.add(session, lease, search_proposal(1, teacher=teacher))
        trials.start(session, lease, "1")
    with refused(database, InvalidValueError, "chooses its teacher if and only if") as session:
        reports.record(session, lease, report, scores_of(report))


def test_a_pending_trial_takes_no_report(database: Database) -> None:
    _, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
    report = Report(trial="base", attempt=0, outcome=Outcome.FAILED, reason="x")
    with refused(database, IllegalTransitionError, "from pending to failed") as session:
        reports.record(session, lease, report, {})


def test_a_recorded_trial_shows_that_the_driver_gets_on(database: Database) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    with database.read() as session:
        assert queue.get(session, lease.work_id).attempts == 0


def test_lineage_leads_from_the_base_to_the_trial(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0))
    run_trial(database, lease, search_proposal(1, parent="0"))
    with database.read() as session:
        line = trials.ancestors(session, f"{search.id}-1")
        assert [trial.name for trial in line] == ["base", "0", "1"]


def test_a_child_inherits_its_parents_student_and_adapters(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    with database.read() as session:
        inherited = trials.inherited(session, f"{search.id}-base")
    assert inherited.detector == detector()
    assert (inherited.student, inherited.adapters) == (artifact("student"), artifact("adapters"))
    assert inherited.aps == {SMALL: 0.25, LARGE: 0.5}


def test_nothing_is_inherited_from_a_trial_that_did_not_succeed(database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
    with refused(database, ConflictError, "is pending and has no student") as session:
        trials.inherited(session, f"{search.id}-base")


def test_pages_of_trials_follow_each_other(database: Database) -> None:
    search, lease = start_search(database)
    for number in range(4):
        run_trial(database, lease, search_proposal(number, parent="base")) if number else run_trial(
            database, lease, base_proposal()
        )
    with database.read() as session:
        first = trials.page(session, search.id, page_size=3)
        rest = trials.page(session, search.id, page_size=3, page_token=first.next_page_token)
        assert [t.name for t in first.items] == ["base", "1", "2"]
        assert ([t.name for t in rest.items], rest.next_page_token) == (["3"], None)
        assert trials.page(session, search.id, status=[TrialStatus.FAILED]).items == []
        with pytest.raises(InvalidValueError, match="was not given out"):
            trials.page(session, search.id, page_token="s-x")


def test_counts_and_best_trial_of_a_search(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.9))
    with database.read() as session:
        assert searches.best_trial(session, search.id) is None
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.5))
    run_trial(database, lease, search_proposal(1), succeeded("1", ap=0.75))
    with database.write() as session:
        trials.add(session, lease, search_proposal(2))
    with database.read() as session:
        best = searches.best_trial(session, search.id)
        assert best is not None
        assert (best[0].name, best[1]) == ("1", 0.75)
        assert searches.trial_counts(session, search.id) == {
            TrialStatus.SUCCEEDED: 3,
            TrialStatus.PENDING: 1,
        }
        assert [t.name for t in trials.scored(session, search.id)] == ["base", "0", "1"]


def test_finished_detector_is_the_best_trial_if_its_score_is_better(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.5))
    run_trial(database, lease, search_proposal(1), succeeded("1", ap=0.6))
    found = []
    for number, ap in ((1, 0.55), (2, 0.7)):
        name = f"finish-{number}"
        run_trial(database, lease, finish_proposal(number, "0"), succeeded(name, ap=ap))
        with database.read() as session:
            best = searches.best_trial(session, search.id)
            found.append(best and best[0].name)
    assert found == ["1", "finish-2"]


def test_an_unknown_trial_is_not_found(database: Database) -> None:
    _, lease = start_search(database)
    with pytest.raises(NotFoundError), database.write() as session:
        trials.start(session, lease, "7")
    with refused(database, NotFoundError, "'s-x-7'") as session:
        trials.get(session, "s-x-7")


def test_times_keep_their_zone(database: Database) -> None:
    search, lease = start_search(database)
    row = run_trial(database, lease, base_proposal())
    assert row.finished_at is not None
    assert row.finished_at.utcoffset() == datetime.now(UTC).utcoffset()
    with database.read() as session:
        assert trials.get(session, f"{search.id}-base").finished_at == row.finished_at
