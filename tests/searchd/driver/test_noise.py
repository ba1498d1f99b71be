"""A search that measures its noise says which gains may be chance."""

from dataclasses import replace

import pytest

from searchd.domain.trial import Proposal, TrialRole
from searchd.driver.ledger import Ledger
from searchd.driver.strategies import strategy_of
from searchd.spec import PoolSearchSpec
from searchd.spec.search import NoiseSpec
from searchd.store import Database, events
from tests.searchd.driver.bookkeeping import BASE, started
from tests.searchd.store import factories

FIRST = factories.search_proposal(0)


def scored(ledger: Ledger, proposal: Proposal, ap: float) -> None:
    started(ledger, proposal)
    ledger.record(factories.succeeded(proposal.name, ap=ap))


def doubts(database: Database, ledger: Ledger) -> list[str]:
    with database.read() as session:
        found = [event.message for event in events.after(session, ledger.run_id)]
    return [message for message in found if message.startswith("within noise: ")]


def test_gain_that_may_be_chance_is_an_event(sqlite: Database, ledger: Ledger) -> None:
    scored(ledger, BASE, 0.5)
    scored(ledger, FIRST, 0.50)
    scored(ledger, replace(FIRST, role=TrialRole.NOISE, number=1), 0.52)
    scored(ledger, factories.search_proposal(1, parent="0"), 0.505)
    scored(ledger, factories.search_proposal(2, parent="0"), 0.60)

    (message,) = doubts(sqlite, ledger)

    assert message.startswith("within noise: trial 1 gains ")


def test_without_repetitions_there_is_no_such_event(sqlite: Database, ledger: Ledger) -> None:
    scored(ledger, BASE, 0.5)
    scored(ledger, FIRST, 0.50)
    scored(ledger, factories.search_proposal(1, parent="0"), 0.505)

    assert doubts(sqlite, ledger) == []


def test_spec_says_on_how_many_seeds(ledger: Ledger) -> None:
    pool = factories.pool_spec()

    assert strategy_of(factories.search_spec(noise=NoiseSpec()), pool).noise_seeds == 3
    assert ledger.strategy().noise_seeds == 1


def test_pool_search_has_no_noise() -> None:
    with pytest.raises(ValueError, match="a pool_search trains nothing that could differ"):
        factories.search_spec(noise=NoiseSpec(), strategy=PoolSearchSpec())
