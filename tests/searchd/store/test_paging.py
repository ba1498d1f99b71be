"""Whatever is given as a page token or a reference, the answer is a page or a clear refusal."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from searchd.domain.errors import InvalidValueError, NotFoundError
from searchd.store import Database
from searchd.store.resources import datasets, searches, tokens
from searchd.store.runs import trials
from tests.searchd.store.factories import base_proposal, run_trial, start_search
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
        datasets.page(session, page_token=token)


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
