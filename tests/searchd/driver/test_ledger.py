"""What a search's driver writes down, step by step, and what the next driver makes of it."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from searchd import artifacts
from searchd.domain.errors import InvalidValueError, StaleLeaseError
from searchd.domain.lifecycle import FailureCause, SearchStatus, TrialStatus
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Outcome, TakeSubnet
from searchd.driver.ledger import Ledger
from searchd.driver.trial_failures import last_failure
from searchd.messages.reports import Report
from searchd.settings import Settings
from searchd.spec import MethodsSpec, SearchSpec
from searchd.store import Database, Lease
from searchd.store.base import now
from searchd.store.work import queue, requests
from tests.searchd.driver.bookkeeping import BASE, failed, started, trial, write_report
from tests.searchd.store import factories


def test_order_of_the_base_builds_the_detector_from_the_spec(
    ledger: Ledger, tmp_path: Path
) -> None:
    ledger.propose(BASE)

    order = ledger.task(BASE)

    assert order.search == ledger.run_id
    assert (order.attempt, order.previous_attempts) == (1, ())
    folder = f"{tmp_path}/artifacts/searches/{ledger.run_id}/base"
    assert order.artifacts == f"{folder}/attempt-1"
    assert order.detector is not None
    assert order.detector.num_classes == 4
    assert isinstance(ledger.spec, SearchSpec)
    assert order.training == ledger.spec.base.training
    assert order.evaluated_at == ledger.spec.trial.resolutions
    assert (order.pool, order.inherited, order.distillation.methods) == (None, None, ())
    assert (order.slice_s, order.checkpoint_s, order.device) == (7.0, 11.0, "cpu")


def test_order_of_a_search_trial_names_the_parents_files_and_the_pool(ledger: Ledger) -> None:
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    proposal = factories.search_proposal(0)
    ledger.propose(proposal)

    order = ledger.task(proposal)

    assert order.inherited is not None
    assert order.inherited.student == factories.artifact("student")
    assert order.inherited.adapters == factories.artifact("adapters")
    assert order.pool is not None
    assert order.pool.supernet.name == "supernet"
    assert order.training == ledger.spec.trial
    assert order.distillation == MethodsSpec()


def test_order_of_a_control_has_neither_teacher_nor_distillation(ledger: Ledger) -> None:
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    control = factories.control_proposal(1)
    ledger.propose(control)

    order = ledger.task(control)

    assert (order.pool, order.distillation.methods) == (None, ())
    assert order.training == ledger.spec.trial


def test_order_to_take_a_subnet_names_the_pool_and_nothing_to_inherit(ledger: Ledger) -> None:
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    subnet = factories.pool_spec().space.space.smallest
    proposal = factories.search_proposal(0, change=TakeSubnet(subnet=subnet), teacher=None)
    ledger.propose(proposal)

    order = ledger.task(proposal)

    assert order.proposal.parent == "base"
    assert (order.detector, order.inherited, order.distillation.methods) == (None, None, ())
    assert order.pool is not None


def test_scores_compare_with_the_bases_complexity(sqlite: Database, ledger: Ledger) -> None:
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    started(ledger, factories.search_proposal(0))
    half = replace(factories.succeeded("0", ap=0.5), base_macs=2e9)

    completion = ledger.record(half)

    # H = 0.5 * [(2e9 / 4e9) * (96 * 96 / (1333 * 800)) ** 0.8] ** -0.4, and 0.25 at 64x64
    assert completion is not None
    assert completion.score == pytest.approx(3.0176, abs=5e-4)
    scores = {e.resolution: e.score for e in trial(sqlite, ledger, "0").evaluations}
    assert scores[Resolution(64, 64)] == pytest.approx(1.9558, abs=5e-4)


def test_success_without_its_complexity_is_refused(ledger: Ledger) -> None:
    started(ledger, BASE)

    with pytest.raises(InvalidValueError, match=r"trial s-\w+-base: a success needs base_macs"):
        ledger.record(replace(factories.succeeded("base"), base_macs=None))


def test_written_report_is_adopted_and_nothing_is_run_again(
    sqlite: Database, lease: Lease, ledger: Ledger, settings: Settings
) -> None:
    started(ledger, BASE)
    write_report(ledger, BASE, factories.succeeded("base"))

    next_driver = Ledger(sqlite, lease, settings)

    assert next_driver.recover() == []
    assert trial(sqlite, ledger, "base").status is TrialStatus.SUCCEEDED
    assert [c.proposal for c in next_driver.history.completions] == [BASE]


def test_trial_without_a_report_is_run_again_as_a_further_attempt(
    sqlite: Database, ledger: Ledger
) -> None:
    started(ledger, BASE)

    assert ledger.recover() == [BASE]

    row = trial(sqlite, ledger, "base")
    assert (row.status, row.status_reason) == (TrialStatus.PENDING, "its driver died")
    order = ledger.task(BASE)
    assert order.attempt == 2
    assert order.previous_attempts == (order.artifacts.replace("attempt-2", "attempt-1"),)


def test_trials_are_offered_again_in_the_order_they_were_proposed(ledger: Ledger) -> None:
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    first, second = factories.search_proposal(0), factories.search_proposal(1)
    ledger.propose(first)
    started(ledger, second)

    assert ledger.recover() == [first, second]


def test_adopting_twice_is_adopting_once(sqlite: Database, ledger: Ledger) -> None:
    started(ledger, BASE)
    write_report(ledger, BASE, factories.succeeded("base"))

    ledger.recover()
    ledger.recover()

    assert len(ledger.history.completions) == 1
    assert trial(sqlite, ledger, "base").attempt == 1


def test_lost_worker_is_replaced_until_the_attempts_are_spent(
    sqlite: Database, ledger: Ledger
) -> None:
    ledger.propose(BASE)
    for _ in range(2):
        ledger.start(ledger.task(BASE))
        assert ledger.worker_lost("base", "its worker was lost") is None
        assert trial(sqlite, ledger, "base").status is TrialStatus.PENDING

    ledger.start(ledger.task(BASE))
    completion = ledger.worker_lost("base", "its worker was lost")

    assert completion is not None
    assert completion.outcome is Outcome.FAILED
    row = trial(sqlite, ledger, "base")
    assert (row.status, row.cause) == (TrialStatus.FAILED, FailureCause.WORKER_LOST)
    assert row.status_reason == "its worker was lost; given up after 3 attempts"


def test_worker_that_dies_before_it_begins_counts_as_an_attempt(
    sqlite: Database, ledger: Ledger
) -> None:
    ledger.propose(BASE)

    assert ledger.worker_lost("base", "its worker was lost") is None

    row = trial(sqlite, ledger, "base")
    assert (row.status, row.attempt) == (TrialStatus.PENDING, 1)


def test_report_of_a_lost_worker_counts_when_it_was_written(ledger: Ledger) -> None:
    started(ledger, BASE)
    write_report(ledger, BASE, factories.succeeded("base"))

    completion = ledger.worker_lost("base", "its worker was lost")

    assert completion is not None
    assert completion.outcome is Outcome.SUCCEEDED


def test_failure_is_reported_to_the_strategy_without_a_score(ledger: Ledger) -> None:
    started(ledger, BASE)

    completion = ledger.record(failed("base", FailureCause.DATA_ERROR, "1.png cannot be read"))

    assert completion is not None
    assert (completion.outcome, completion.score) == (Outcome.FAILED, None)
    assert ledger.read(last_failure, ledger.run_id) == (
        "the last failure is trial base (data_error): 1.png cannot be read"
    )


def test_wish_to_stop_that_cannot_be_stored_is_passed_on_later(
    sqlite: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    started(ledger, BASE)
    with sqlite.write() as session:
        requests.ask_to_pause(session, ledger.run_id)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        assert not ledger.stop()
    assert not artifacts.exists(ledger.stop_uri)
    assert ledger.row().status is SearchStatus.PAUSING

    assert ledger.stop()
    assert artifacts.exists(ledger.stop_uri)


def test_stopped_trial_of_a_cancelled_search_is_cancelled_and_not_reported(
    sqlite: Database, ledger: Ledger
) -> None:
    started(ledger, BASE)
    with sqlite.write() as session:
        requests.ask_to_cancel(session, ledger.run_id)
    ledger.stop()
    assert artifacts.exists(ledger.stop_uri)

    stopped = Report(trial="base", attempt=1, outcome=Outcome.STOPPED, reason="stop requested")
    assert ledger.record(stopped) is None

    assert trial(sqlite, ledger, "base").status is TrialStatus.CANCELLED
    assert ledger.stopped() == (SearchStatus.CANCELLED, "cancelled by a user")


def test_driver_without_the_lease_writes_nothing(
    sqlite: Database, lease: Lease, ledger: Ledger
) -> None:
    started(ledger, BASE)
    with sqlite.write() as session:
        queue.requeue(session, lease, "no sign of life", delay_s=0, now=now())

    with pytest.raises(StaleLeaseError):
        ledger.record(factories.succeeded("base"))

    assert trial(sqlite, ledger, "base").status is TrialStatus.RUNNING
