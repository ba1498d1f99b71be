"""A search that abandons hopeless trials tells its workers what that is."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from searchd.domain.lifecycle import TrialStatus
from searchd.domain.trial import Outcome, Proposal, TrialRole
from searchd.driver.ledger import Ledger
from searchd.messages.reports import Report, SanityChecks
from searchd.search.rungs import Rung
from searchd.settings import Settings
from searchd.spec import JointDetNasSpec, RandomSpec, RungsSpec, TrainingSpec
from searchd.spec.search import NoiseSpec
from searchd.store import Database, Lease
from searchd.store.models import RunRow
from tests.searchd.driver.bookkeeping import BASE, started, trial
from tests.searchd.store import factories

SPEC = factories.search_spec(
    abandon=True, noise=NoiseSpec(seeds=2), strategy=JointDetNasSpec(top_k=2)
)


@pytest.fixture
def ledger(sqlite: Database, lease: Lease, settings: Settings) -> Ledger:
    with sqlite.write() as session:
        session.execute(update(RunRow).values(spec=SPEC))
    return Ledger(sqlite, lease, settings)


def scored(ledger: Ledger, proposal: Proposal, ap: float, first: float | None = None) -> None:
    started(ledger, proposal)
    report = factories.succeeded(proposal.name, ap=ap)
    ledger.record(replace(report, checks=SanityChecks(first_epoch_score=first)))


def test_order_of_a_search_trial_has_the_threshold(ledger: Ledger) -> None:
    scored(ledger, BASE, 0.5)
    first = factories.search_proposal(0)
    scored(ledger, first, 0.5, first=0.1)
    scored(ledger, replace(first, role=TrialRole.NOISE, number=1), 0.5)
    scored(ledger, factories.search_proposal(2), 0.6, first=0.2)
    scored(ledger, factories.search_proposal(4), 0.7, first=0.3)
    wanted = replace(factories.search_proposal(6), completed_before=5)
    ledger.propose(wanted)

    rule = ledger.task(wanted).early_stopping

    assert rule is not None
    assert rule.base_macs == 4e9
    ended = ledger.history.completions
    scores = {each.proposal.name: each.score or 0.0 for each in ended}
    largest_rise = max(scores["0"] - 0.1, scores["2"] - 0.2, scores["4"] - 0.3)
    assert rule.abandon_below == pytest.approx(scores["2"] - largest_rise)


def test_other_trials_are_not_judged_by_their_first_epoch(ledger: Ledger) -> None:
    ledger.propose(BASE)
    assert ledger.task(BASE).early_stopping is None

    ledger.start(ledger.task(BASE))
    ledger.record(factories.succeeded("base"))
    ledger.propose(factories.search_proposal(0))
    rule = ledger.task(factories.search_proposal(0)).early_stopping
    assert rule is not None
    assert rule.abandon_below is None


def test_abandoned_trial_is_skipped_with_both_scores_as_reason(
    sqlite: Database, ledger: Ledger
) -> None:
    scored(ledger, BASE, 0.5)
    started(ledger, factories.search_proposal(0))
    reported = ledger.record(
        Report(trial="0", attempt=1, outcome=Outcome.ABANDONED, reason="4% is below 7%")
    )

    assert reported is not None
    assert reported.score is None
    row = trial(sqlite, ledger, "0")
    assert (row.status, row.status_reason) == (TrialStatus.SKIPPED, "4% is below 7%")


def test_without_it_no_trial_is_judged(sqlite: Database, lease: Lease, settings: Settings) -> None:
    other = Ledger(sqlite, lease, settings)
    scored(other, BASE, 0.5)
    other.propose(factories.search_proposal(0))

    assert other.task(factories.search_proposal(0)).early_stopping is None


def test_abandoning_needs_the_noise_the_best_and_a_second_epoch() -> None:
    with pytest.raises(ValueError, match="judged by the measured noise; give noise"):
        factories.search_spec(abandon=True)
    with pytest.raises(ValueError, match="abandon: a random does not continue from the best"):
        factories.search_spec(abandon=True, noise=NoiseSpec(), strategy=RandomSpec())
    with pytest.raises(ValueError, match="nothing is left to save after the first"):
        factories.search_spec(abandon=True, noise=NoiseSpec(), trial=TrainingSpec(epochs=1))


HALVING = SPEC.model_copy(
    update={
        "abandon": False,
        "rungs": RungsSpec(first=1, factor=2),
        "trial": TrainingSpec(epochs=3),
        "strategy": JointDetNasSpec(),
    }
)


@pytest.fixture
def halving(sqlite: Database, lease: Lease, settings: Settings) -> Ledger:
    """A search with rungs after epochs 1 and 2. Of two trials that mutated the teacher, one was
    stopped at the second rung."""
    with sqlite.write() as session:
        session.execute(update(RunRow).values(spec=HALVING))
    made = Ledger(sqlite, lease, settings)
    scored(made, BASE, 0.5)
    started(made, factories.search_proposal(0))
    checks = SanityChecks(epoch_scores=((1, 0.25), (2, 0.5)), first_epoch_score=0.25)
    made.record(replace(factories.succeeded("0"), checks=checks))
    started(made, factories.search_proposal(2))
    checks = SanityChecks(epoch_scores=((1, 0.375), (2, 0.125)), first_epoch_score=0.375)
    outcome = Outcome.ABANDONED
    made.record(Report(trial="2", attempt=1, outcome=outcome, reason="low", checks=checks))
    return made


def test_task_of_a_search_trial_has_its_rungs(halving: Ledger) -> None:
    wanted = replace(factories.search_proposal(4), completed_before=3)
    halving.propose(wanted)

    rule = halving.task(wanted).early_stopping

    assert rule is not None
    assert (rule.abandons, rule.abandon_below) == (False, None)
    assert rule.epochs == {1, 2}
    assert rule.rungs == (
        Rung(epoch=1, below=0.375, rank=1, num=2),
        Rung(epoch=2, below=0.5, rank=1, num=2),
    )


def test_rungs_are_the_same_for_a_later_attempt_under_another_driver(
    sqlite: Database, lease: Lease, settings: Settings, halving: Ledger
) -> None:
    wanted = replace(factories.search_proposal(4), completed_before=3)
    halving.propose(wanted)
    before = halving.task(wanted).early_stopping
    other = replace(factories.search_proposal(6), completed_before=3)
    started(halving, other)
    checks = SanityChecks(epoch_scores=((1, 0.75), (2, 0.75)))
    halving.record(replace(factories.succeeded("6"), checks=checks))

    again = Ledger(sqlite, lease, settings)

    assert again.task(wanted).early_stopping == before


def test_both_kinds_of_early_stopping_may_be_used_together(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    both = SPEC.model_copy(update={"rungs": RungsSpec(first=2, factor=2)})
    with sqlite.write() as session:
        session.execute(update(RunRow).values(spec=both))
    ledger = Ledger(sqlite, lease, settings)
    scored(ledger, BASE, 0.5)
    ledger.propose(factories.search_proposal(0))

    rule = ledger.task(factories.search_proposal(0)).early_stopping

    assert rule is not None
    assert rule.epochs == {1, 2}


def test_rungs_need_the_best_and_an_epoch_after_them() -> None:
    assert factories.search_spec(rungs={}).rungs == RungsSpec(first=1, factor=3)
    with pytest.raises(ValueError, match="rungs: a random does not continue from the best stu"):
        factories.search_spec(rungs={}, strategy=RandomSpec())
    with pytest.raises(ValueError, match="rungs.first=3 is not before the last of trial.epochs=3"):
        factories.search_spec(rungs={"first": 3}, trial=TrainingSpec(epochs=3))
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        factories.search_spec(rungs={"factor": 1})
