"""A browser for the tests of a file, and an empty tab for each of them."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from searchd.store import Database, Lease
from tests.browser import chromium, opened
from tests.searchd.store import factories


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened(browser) as page:
        yield page


@pytest.fixture
def lease(database: Database) -> Lease:
    """Of the running search "first" with a base and trial 0."""
    _, lease = factories.start_search(database)
    factories.run_trial(database, lease, factories.base_proposal())
    report = factories.with_breakdown(factories.succeeded("0"))
    factories.run_trial(database, lease, factories.search_proposal(0), report)
    return lease
