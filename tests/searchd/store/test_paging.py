"""Whatever is given as a page token or a reference, the answer is a page or a clear refusal."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from searchd.domain.errors import InvalidValueError, NotFoundError
from searchd.domain.lifecycle import DatasetStatus
from searchd.store import Database, paging
from searchd.store.models import DatasetRow
from searchd.store.paging import Listing, Sort
from searchd.store.resources import datasets, searches, tokens
from searchd.store.runs import trials
from tests.searchd.store.factories import base_proposal, dataset_spec, run_trial, start_search
from tests.strength import examples

TOKENS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | (
    st.integers().map(str) | st.just("9" * 5000) | st.just("\u0663")
)
"""The API lets neither zero characters nor half characters through, which PostgreSQL refuses."""
quick = settings(
    max_examples=examples(10, 300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@quick
@given(TOKENS)
def test_any_token_that_a_list_never_gave_out_is_refused(database: Database, token: str) -> None:
    with (
        database.read() as session,
        pytest.raises(InvalidValueError, match="was not given out by this list"),
    ):
        paging.page(session, DatasetRow, Listing(page_token=token))


@given(TOKENS)
@quick
def test_any_token_is_refused_by_a_list_that_is_sorted_by_status(
    database: Database, token: str
) -> None:
    with (
        database.read() as session,
        pytest.raises(InvalidValueError, match="was not given out by this list"),
    ):
        paging.page(session, DatasetRow, Listing(sort="status", page_token=token))


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("created_at", ["first-b", "first-a", "second"]),
        ("-created_at", ["second", "first-a", "first-b"]),
        ("name", ["first-a", "first-b", "second"]),
        ("-name", ["second", "first-b", "first-a"]),
        ("status", ["first-b", "first-a", "second"]),
        ("-status", ["second", "first-a", "first-b"]),
    ],
)
def test_pages_follow_each_other_in_every_order(
    database: Database, sort: Sort, names: list[str]
) -> None:
    _add(database, ("first-b", "checking"), ("first-a", "failed"), ("second", "ready"))
    with database.read() as session:
        found, token = [], None
        for _ in range(3):
            page = paging.page(
                session, DatasetRow, Listing(sort=sort, page_size=1, page_token=token)
            )
            found.append(page.items[0].name)
            token = page.next_page_token
    assert (found, token) == (names, None)


def test_a_status_that_changes_between_two_pages_skips_no_other_resource(
    database: Database,
) -> None:
    _add(database, ("a", "checking"), ("b", "failed"), ("c", "ready"))
    with database.read() as session:
        first = paging.page(session, DatasetRow, Listing(sort="status", page_size=1))
    with database.write() as session:
        session.execute(
            update(DatasetRow).where(DatasetRow.name == "a").values(status=DatasetStatus.READY)
        )
    with database.read() as session:
        rest = paging.page(
            session, DatasetRow, Listing(sort="status", page_token=first.next_page_token)
        )
        assert {row.name for row in rest.items} >= {"b", "c"}


def test_lists_are_filtered_by_part_of_the_name_several_statuses_and_age(
    database: Database,
) -> None:
    _add(database, ("first_b", "checking"), ("first-a", "failed"), ("second", "ready"))
    with database.read() as session:

        def names(listing: Listing, *status: DatasetStatus) -> list[str]:
            return [row.name for row in paging.page(session, DatasetRow, listing, status).items]

        assert names(Listing(name="FIRST")) == ["first-a", "first_b"]
        assert names(Listing(name="t_")) == ["first_b"]
        assert names(Listing(), DatasetStatus.FAILED, DatasetStatus.READY) == ["second", "first-a"]
        assert names(Listing(name="first"), DatasetStatus.READY) == []
        second = datasets.get(session, "second").created_at
        assert names(Listing(since=second)) == ["second"]
        assert names(Listing(since=second + timedelta(seconds=1))) == []


def _add(database: Database, *named: tuple[str, str]) -> None:
    """Create data sets with these names and statuses, one after the other."""
    for name, status in named:
        with database.write() as session:
            datasets.create(session, dataset_spec(name))
            named_so = update(DatasetRow).where(DatasetRow.name == name)
            session.execute(named_so.values(status=DatasetStatus(status)))


@given(TOKENS)
@quick
def test_any_token_of_trials_is_good_or_refused(database: Database, token: str) -> None:
    with database.read() as session, suppress(InvalidValueError):
        assert trials.page(session, "s-none", page_token=token).items == []


def test_a_token_that_was_given_out_leads_to_the_rest(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    with database.read() as session:
        assert trials.page(session, search.id, page_token="0").items == []
        assert len(trials.page(session, search.id).items) == 1


@given(TOKENS)
@quick
def test_any_reference_finds_nothing_where_there_is_nothing(
    database: Database, reference: str
) -> None:
    with database.read() as session, pytest.raises(NotFoundError, match="does not exist"):
        searches.get(session, reference)


@given(TOKENS)
@quick
def test_any_secret_is_recognised_as_nobodys(database: Database, secret: str) -> None:
    with database.read() as session:
        assert tokens.recognise(session, secret) is None
