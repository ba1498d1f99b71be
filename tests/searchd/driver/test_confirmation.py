"""A search that confirms candidate incumbents shows, keeps and finishes what it accepted."""

from datetime import UTC, datetime, timedelta

import pytest

from api.views import lineage as views
from searchd.domain.trial import Proposal
from searchd.driver.ledger import Ledger
from searchd.driver.strategies import strategy_of
from searchd.search.ask_tell import decide
from searchd.search.confirmation import Verdict
from searchd.settings import Settings
from searchd.spec import FinishSpec, PipelineSpec, PoolSearchSpec, RandomSpec, TrainingSpec
from searchd.store import Database, Lease, events
from searchd.store.resources import finish, searches
from searchd.store.runs import retention, trials
from tests.searchd.driver.bookkeeping import started
from tests.searchd.store import factories


@pytest.fixture
def ledger(sqlite: Database, settings: Settings) -> Ledger:
    """The books of a running search that confirms."""
    factories.add_dataset(sqlite)
    factories.add_pool(sqlite)
    with sqlite.write() as session:
        trial = TrainingSpec(resolutions=(factories.SMALL, factories.LARGE))
        spec = factories.search_spec(confirm=True, control=False, trial=trial)
        searches.create(session, spec)
    with sqlite.read() as session:
        row = searches.get(session, "first")
    with factories.leased(sqlite, f"search-{row.id}") as (_, lease):
        pass
    return Ledger(sqlite, lease, settings)


def tell(ledger: Ledger, ap: float, macs: float = 2e9) -> Proposal:
    proposal = decide(ledger.strategy(), ledger.history)
    assert isinstance(proposal, Proposal)
    started(ledger, proposal)
    reported = ledger.record(factories.succeeded(proposal.name, ap=ap, macs=macs))
    assert reported is not None
    return proposal


@pytest.fixture
def searched(ledger: Ledger) -> Ledger:
    """Trial 0 has AP 0.50, trial 1 0.70."""
    for ap in (0.4, 0.50, 0.70):
        tell(ledger, ap)
    return ledger


def best(database: Database, ledger: Ledger) -> tuple[str, object]:
    with database.read() as session:
        found = searches.best_trial(session, ledger.run_id)
        assert found is not None
        return found[0].name, found[1] / (found[0].score or 0.0)


def test_best_trial_is_one_that_is_accepted_with_its_mean(
    sqlite: Database, searched: Ledger, settings: Settings
) -> None:
    assert best(sqlite, searched) == ("0", 1.0)

    again = tell(searched, 0.56)

    assert again.name == "confirm-1"
    assert best(sqlite, searched) == ("1", pytest.approx(0.63 / 0.70))
    next_driver = Ledger(sqlite, Lease(f"search-{searched.run_id}", 1), settings)
    assert list(next_driver.history.proposals) == list(searched.history.proposals)


def test_lineage_says_what_was_confirmed(sqlite: Database, searched: Ledger) -> None:
    def lineage() -> dict[str, tuple[object, Verdict | None]]:
        with sqlite.read() as session:
            found = views.lineage(session, [searches.get(session, "first")]).trials
        first = next(node.score for node in found if node.name == "0")
        assert first is not None
        return {node.name: ((node.score or 0.0) / first, node.verdict) for node in found}

    assert lineage()["1"] == (pytest.approx(1.4), Verdict.UNDECIDED)
    tell(searched, 0.56)
    assert lineage()["1"] == (pytest.approx(1.26), Verdict.CONFIRMED)
    assert lineage()["0"] == (1.0, None)


def test_events_say_what_was_confirmed(sqlite: Database, searched: Ledger) -> None:
    tell(searched, 0.56)
    with sqlite.read() as session:
        said = [event.message for event in events.after(session, searched.run_id)]

    waits, accepted = [message for message in said if message.startswith("confirmation: ")]
    assert waits.startswith("confirmation: trial 1 has the best score so far, ")
    assert accepted.startswith("confirmation: trial 1 is accepted with a score of ")


def test_finishing_takes_the_knee_of_what_is_accepted(sqlite: Database, searched: Ledger) -> None:
    tell(searched, 0.20)  # a mean of 0.45: trial 0 is better at the same cost
    with sqlite.write() as session:
        row = searches.get(session, "first")
        row.status = row.status.SUCCEEDED
        (distillation,) = finish.finish(session, row, FinishSpec())
        assert distillation.name == "first-fine-tune-0"


def test_weights_of_what_waits_and_of_its_parent_are_kept(
    sqlite: Database, searched: Ledger
) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    with sqlite.write() as session:
        retention.collect(session, searched.run_id, keep_s=0, now=later)
    tell(searched, 0.20)
    for _ in range(6):
        tell(searched, 0.49, macs=3e9)
    with sqlite.write() as session:
        collected = retention.collect(session, searched.run_id, keep_s=0, now=later).collected

    # The five best have 0.50 and 0.49; trial 1, of 0.70, is on the front as it was measured.
    with sqlite.read() as session:
        kept = {row.name for row in trials.scored(session, searched.run_id)} - set(collected)
    assert kept >= {"base", "0", "1"}
    assert "confirm-1" in collected


def test_only_strategies_that_choose_trained_students_confirm() -> None:
    pool = factories.pool_spec()
    for strategy in (PoolSearchSpec(), PipelineSpec(macs_fraction=0.5)):
        with pytest.raises(ValueError, match=f"confirm: a {strategy.kind} does not choose"):
            factories.search_spec(confirm=True, strategy=strategy)

    assert strategy_of(factories.search_spec(confirm=True, strategy=RandomSpec()), pool).confirm
    assert not strategy_of(factories.search_spec(), pool).confirm
