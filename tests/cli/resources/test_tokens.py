"""Tokens from the command line, without a service."""

import json
from pathlib import Path

import pytest

from searchd.store import Database, Role
from searchd.store.resources import tokens
from tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCHD_DATA_FOLDER", str(tmp_path / "data"))


def _role(folder: Path, secret: str) -> Role | None:
    database = Database(f"sqlite:///{folder / 'searchd.sqlite'}")
    with database.read() as session:
        token = tokens.recognise(session, secret)
    database.close()
    return token.role if token else None


def test_a_created_token_is_all_that_stdout_holds(offline: Run, tmp_path: Path) -> None:
    result = offline("token", "create", "ci", "--role", "admin")
    assert result.exit_code == 0
    assert _role(tmp_path / "data", result.stdout.strip()) is Role.ADMIN
    assert f"Token ci with role admin in sqlite:///{tmp_path}/data/searchd.sqlite" in result.stderr


def test_the_data_folder_may_be_another(offline: Run, tmp_path: Path) -> None:
    result = offline("token", "create", "ci", "--data-folder", tmp_path / "other")
    assert _role(tmp_path / "other", result.stdout.strip()) is Role.SUBMIT
    assert not (tmp_path / "data").exists()


def test_a_revoked_token_is_refused_but_listed(offline: Run, tmp_path: Path) -> None:
    secret = offline("token", "create", "ci").stdout.strip()
    result = offline("token", "revoke", "ci")
    assert (result.exit_code, result.stdout[:24]) == (0, "Token ci was revoked at ")
    assert _role(tmp_path / "data", secret) is None
    listed = offline("token", "list", "--format", "json")
    (token,) = json.loads(listed.stdout)
    assert (token["name"], token["role"], token["last_used_at"]) == ("ci", "submit", None)
    assert token["revoked_at"] is not None
    assert secret not in listed.output + offline("token", "list").output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["create", "ci"], 1, "there is, or was, a token 'ci'"),
        (["create", "C I"], 2, "name='C I' must consist of up to 63 lower-case letters"),
        (["create", "new", "--role", "root"], 2, "'root' is not one of"),
        (["revoke", "nobody"], 1, "token 'nobody' does not exist"),
    ],
)
def test_what_cannot_be_done_says_why(
    offline: Run, arguments: list[str], code: int, message: str
) -> None:
    offline("token", "create", "ci")
    result = offline("token", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
