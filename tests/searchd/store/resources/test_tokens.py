"""Tokens are recognised by their secret, which is stored nowhere; owners stay with resources."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from searchd.domain.errors import ConflictError, InvalidValueError, NotFoundError
from searchd.store import Database, Role, downgrade, upgrade
from searchd.store.models import TokenRow
from searchd.store.resources import datasets, tokens
from tests.searchd.store.factories import add_search, dataset_spec

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def _create(database: Database, name: str = "ci", role: Role = Role.SUBMIT) -> str:
    with database.write() as session:
        return tokens.create(session, name, role)


def test_a_secret_has_256_bits_and_is_recognised(database: Database) -> None:
    secret = _create(database)
    assert secret.startswith("searchd_")
    assert len(secret) == len("searchd_") + 43  # 32 bytes in base64
    with database.read() as session:
        found = tokens.recognise(session, secret)
        assert tokens.recognise(session, secret[:-1]) is None
    assert found is not None
    assert (found.name, found.role, found.last_used_at) == ("ci", Role.SUBMIT, None)


def test_no_two_secrets_are_alike(database: Database) -> None:
    assert _create(database, "a") != _create(database, "b")


def test_the_database_holds_no_secret(database: Database) -> None:
    secret = _create(database)
    with database.read() as session:
        (row,) = session.execute(text("SELECT * FROM tokens")).all()
    assert secret not in str(row)
    assert secret.removeprefix("searchd_") not in str(row)


def test_a_revoked_token_is_refused_and_keeps_its_date(database: Database) -> None:
    secret = _create(database)
    with database.write() as session:
        revoked = tokens.revoke(session, "ci").revoked_at
    with database.write() as session:
        assert tokens.revoke(session, "ci").revoked_at == revoked
        assert tokens.recognise(session, secret) is None


def test_an_unknown_token_cannot_be_revoked(database: Database) -> None:
    with (
        database.write() as session,
        pytest.raises(NotFoundError, match="token 'ci' does not exist"),
    ):
        tokens.revoke(session, "ci")


def test_names_are_never_used_again(database: Database) -> None:
    _create(database)
    with database.write() as session:
        tokens.revoke(session, "ci")
    with pytest.raises(ConflictError, match="names are never reused"):
        _create(database)


@pytest.mark.parametrize("name", ["", "CI", "a b", "-a", "a" * 64, "a\n"])
def test_an_illegal_name_is_refused(database: Database, name: str) -> None:
    with pytest.raises(InvalidValueError, match="must consist of up to 63 lower-case letters"):
        _create(database, name)


@pytest.mark.parametrize(("minutes", "news"), [(0, False), (9, False), (10, True), (60, True)])
def test_a_use_is_news_once_in_ten_minutes(minutes: int, news: bool) -> None:
    token = TokenRow(name="ci", role=Role.READ, sha256="", last_used_at=NOON)
    assert tokens.use_is_news(token, NOON + timedelta(minutes=minutes)) is news


def test_a_recorded_use_is_stored(database: Database) -> None:
    _create(database)
    with database.write() as session:
        tokens.record_use(session, "ci", NOON)
    with database.read() as session:
        (token,) = tokens.every(session)
    assert token.last_used_at == NOON


def test_each_role_includes_those_before_it() -> None:
    included = {role: [other for other in Role if role.includes(other)] for role in Role}
    assert included == {
        Role.READ: [Role.READ],
        Role.SUBMIT: [Role.READ, Role.SUBMIT],
        Role.ADMIN: [Role.READ, Role.SUBMIT, Role.ADMIN],
    }


def test_an_idempotency_key_belongs_to_its_owner(database: Database) -> None:
    with database.write() as session:
        row = datasets.create(session, dataset_spec(), idempotency_key="k", owner="ann")
        again = datasets.create(session, dataset_spec(), idempotency_key="k", owner="ann")
        assert (row.owner, again.id) == ("ann", row.id)
        with pytest.raises(ConflictError, match="'k' was used by ann"):
            datasets.create(session, dataset_spec(), idempotency_key="k", owner="ben")


def test_owners_come_and_go_without_touching_what_is_stored(url: str) -> None:
    upgrade(url)
    opened = Database(url)
    add_search(opened)
    opened.close()
    downgrade(url, "0002")
    upgrade(url)
    opened = Database(url)
    with opened.read() as session:
        rows = session.execute(text("SELECT name, owner FROM searches")).all()
    opened.close()
    assert rows == [("first", None)]
