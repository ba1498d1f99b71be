"""A search that abandons hopeless trials tells its workers what that is."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from searchd.domain.lifecycle import TrialStatus
from searchd.domain.trial import Outcome, Proposal, TrialRole
from searchd.driver.ledger import Ledger
from searchd.messages.reports import Report, SanityChecks
from searchd.settings import Settings
from searchd.spec import JointDetNasSpec, RandomSpec, TrainingSpec
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
