"""What the ledger makes of attempts that failed: the cause decides."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from searchd.domain.actions import PruneChannels
from searchd.domain.distillation_methods import MethodName
from searchd.domain.lifecycle import FailureCause, TrialStatus
from searchd.domain.method_set import MethodSet, MutateMethods, WeightedMethod
from searchd.domain.trial import Proposal
from searchd.driver.ledger import Ledger
from searchd.messages.reports import Report
from searchd.settings import Settings
from searchd.spec.strategies import JointDetNasSpec
from searchd.store import Database, Lease, events
from searchd.store.models import RunRow
from tests.searchd.driver.bookkeeping import BASE, failed, started, submitted, trial, write_report
from tests.searchd.store import factories


def test_trial_that_ran_out_of_memory_is_tried_with_half_the_batch_and_rate(
    sqlite: Database, ledger: Ledger
) -> None:
    started(ledger, BASE)
    before = ledger.task(BASE).training

    assert ledger.record(failed("base", FailureCause.OUT_OF_MEMORY)) is None

    row = trial(sqlite, ledger, "base")
    assert (row.status, row.adjustments) == (TrialStatus.PENDING, {"batch_size": 2})
    assert row.status_reason.startswith("out_of_memory: why; retried with a batch size of 2")
    order = ledger.task(BASE)
    assert (order.attempt, order.training.batch_size) == (2, 2)
    # The default rate is meant for 16 images: the worker scales it by 2 / 16, as it did by 4 / 16.
    assert (before.base_batch_size, order.training.base_batch_size) == (16, 16)
    assert order.training.learning_rate == before.learning_rate
    assert order.training.epochs == before.epochs


def test_trial_that_runs_out_of_memory_again_has_failed(sqlite: Database, ledger: Ledger) -> None:
    started(ledger, BASE)
    ledger.record(failed("base", FailureCause.OUT_OF_MEMORY))
    ledger.start(ledger.task(BASE))

    completion = ledger.record(failed("base", FailureCause.OUT_OF_MEMORY, attempt=2))

    assert completion is not None
    row = trial(sqlite, ledger, "base")
    assert (row.status, row.cause) == (TrialStatus.FAILED, FailureCause.OUT_OF_MEMORY)
    assert row.status_reason == "why; with a batch size of 2"


def test_trial_whose_loss_exploded_is_tried_with_a_lower_rate_also_after_out_of_memory(
    ledger: Ledger,
) -> None:
    started(ledger, BASE)
    rate = ledger.task(BASE).training.learning_rate
    ledger.record(failed("base", FailureCause.OUT_OF_MEMORY))
    ledger.start(ledger.task(BASE))

    assert ledger.record(failed("base", FailureCause.NON_FINITE_LOSS, attempt=2)) is None

    order = ledger.task(BASE)
    assert order.training.batch_size == 2
    assert order.training.learning_rate == pytest.approx(rate * 0.1)


def test_report_of_a_failure_that_was_decided_on_is_not_decided_on_again(
    sqlite: Database, lease: Lease, ledger: Ledger, settings: Settings
) -> None:
    """The driver dies after it offered the trial again; the report is still there."""
    started(ledger, BASE)
    report = failed("base", FailureCause.NON_FINITE_LOSS)
    write_report(ledger, BASE, report)
    ledger.record(report)

    assert Ledger(sqlite, lease, settings).recover() == [BASE]

    row = trial(sqlite, ledger, "base")
    assert (row.status, row.attempt) == (TrialStatus.PENDING, 1)
    assert row.adjustments == {"learning_rate_factor": 0.1}


@pytest.fixture
def family(ledger: Ledger) -> tuple[Proposal, Proposal, Proposal]:
    """Trials 0, 1 and 2, each the child of the one before; 2 is RUNNING."""
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    generations = [factories.search_proposal(number, parent) for number, parent in _PARENTS]
    for proposal in generations[:2]:
        started(ledger, proposal)
        ledger.record(with_files_of_its_own(factories.succeeded(proposal.name)))
    started(ledger, generations[2])
    return generations[0], generations[1], generations[2]


_PARENTS = ((0, "base"), (1, "0"), (2, "1"))


def with_files_of_its_own(report: Report) -> Report:
    files = (replace(each, uri=f"{report.trial}/{each.name}") for each in report.artifacts)
    return replace(report, artifacts=tuple(files))


def test_trial_with_a_damaged_parent_continues_from_its_grandparent_and_says_so(
    sqlite: Database, ledger: Ledger, family: tuple[Proposal, ...]
) -> None:
    report = failed("2", FailureCause.BAD_CHECKPOINT, "1/student is damaged", damaged="1/student")

    assert ledger.record(report) is None

    row = trial(sqlite, ledger, "2")
    assert row.status_reason == (
        "bad_checkpoint: 1/student is damaged; retried from the student of trial 0"
    )
    assert row.parent_id == f"{ledger.run_id}-0"
    assert row.proposal == family[2]  # so that replay is exact
    inherited = ledger.task(family[2]).inherited
    assert inherited is not None
    assert inherited.student.uri == "0/student"


def test_a_trial_that_mutates_the_methods_continues_from_the_grandparent_too(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    spec = factories.search_spec(
        distillation={"methods": [{"name": "sgfi"}], "search": {"methods": [{"name": "cwd"}]}}
    )
    ledger = submitted(sqlite, lease, settings, spec)
    cwd = WeightedMethod(name=MethodName.CWD, weight=5.0)
    change, methods = MutateMethods(added=cwd, removed=MethodName.SGFI), MethodSet(methods=(cwd,))
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    for number, parent in _PARENTS[:2]:
        started(ledger, factories.search_proposal(number, parent))
        ledger.record(with_files_of_its_own(factories.succeeded(str(number))))
    last = factories.search_proposal(2, "1", change=change, methods=methods)
    started(ledger, last)

    damaged = failed("2", FailureCause.BAD_CHECKPOINT, "1/student is damaged", damaged="1/student")

    assert ledger.record(damaged) is None
    assert trial(sqlite, ledger, "2").parent_id == f"{ledger.run_id}-0"
    assert [each.name for each in ledger.task(last).distillation.methods] == [MethodName.CWD]


def test_pruning_to_multiples_of_channels_continues_from_the_grandparent_too(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    with sqlite.write() as session:
        strategy = JointDetNasSpec(round_to=8)
        session.execute(update(RunRow).values(spec=factories.search_spec(strategy=strategy)))
    ledger = Ledger(sqlite, lease, settings)
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    for number, parent in _PARENTS[:2]:
        started(ledger, factories.search_proposal(number, parent))
        ledger.record(with_files_of_its_own(factories.succeeded(str(number))))
    started(ledger, factories.search_proposal(2, "1", change=PruneChannels(round_to=8)))

    damaged = failed("2", FailureCause.BAD_CHECKPOINT, "1/student is damaged", damaged="1/student")

    assert ledger.record(damaged) is None
    assert trial(sqlite, ledger, "2").parent_id == f"{ledger.run_id}-0"


def test_trial_whose_grandparent_is_damaged_too_has_failed(
    ledger: Ledger, family: tuple[Proposal, ...]
) -> None:
    ledger.record(failed("2", FailureCause.BAD_CHECKPOINT, damaged="1/student"))
    ledger.start(ledger.task(family[2]))

    again = failed("2", FailureCause.BAD_CHECKPOINT, attempt=2, damaged="0/student")

    assert ledger.record(again) is not None


@pytest.mark.usefixtures("family")
def test_damaged_file_that_is_not_the_parents_fails_the_trial(
    sqlite: Database, ledger: Ledger
) -> None:
    assert ledger.record(failed("2", FailureCause.BAD_CHECKPOINT, damaged="supernet")) is not None

    assert trial(sqlite, ledger, "2").parent_id == f"{ledger.run_id}-1"


def test_trial_whose_parent_is_the_base_has_nowhere_else_to_continue_from(ledger: Ledger) -> None:
    started(ledger, BASE)
    ledger.record(with_files_of_its_own(factories.succeeded("base")))
    started(ledger, factories.search_proposal(0))

    damaged = failed("0", FailureCause.BAD_CHECKPOINT, damaged="base/student")

    assert ledger.record(damaged) is not None


def test_what_a_worker_did_otherwise_is_among_the_events(sqlite: Database, ledger: Ledger) -> None:
    started(ledger, BASE)
    note = "checkpoint resume.pt cannot be read and is passed over"

    ledger.record(replace(factories.succeeded("base"), notes=(note,)))

    with sqlite.read() as session:
        assert note in [e.message for e in events.after(session, ledger.run_id, 0)]
