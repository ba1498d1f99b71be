"""A search that a driver has just taken up."""

from pathlib import Path

import pytest

from searchd.domain.lifecycle import SearchStatus
from searchd.driver.ledger import Ledger
from searchd.settings import Settings
from searchd.store import Database, Lease
from searchd.store.work import queue
from tests.searchd.store import factories


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_folder=tmp_path, max_attempts=3, slice_s=7.0, checkpoint_s=11.0)


@pytest.fixture
def lease(sqlite: Database) -> Lease:
    """On a search that is PREPARING; data set and pool are ready."""
    search = factories.add_search(sqlite)
    with factories.leased(sqlite, f"search-{search.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
    return lease


@pytest.fixture
def ledger(sqlite: Database, lease: Lease, settings: Settings) -> Ledger:
    return Ledger(sqlite, lease, settings)
