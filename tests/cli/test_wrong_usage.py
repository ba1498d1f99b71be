"""What goes wrong around a command is said in one sentence: URLs, names, databases, folders."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from searchd.store import Database, upgrade
from tests.api.service import Service
from tests.cli.conftest import Run
from tests.searchd.store.factories import add_search

pytestmark = pytest.mark.timeout(60)  # `up` imports Ray


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "127.0.0.1:8080",
            "'127.0.0.1:8080' is not the URL of a service; write http://127.0.0.1:8080",
        ),
        ("localhost", "'localhost' is not the URL of a service; write http://localhost"),
        ("htp://x", "'htp://x' is not the URL of a service; it looks like http://127.0.0.1:8080"),
        ("", "'' is not the URL of a service; it looks like http://127.0.0.1:8080"),
        (
            "http://127.0.0.1:99999",
            "'http://127.0.0.1:99999' is not the URL of a service; it looks like "
            "http://127.0.0.1:8080",
        ),
        ("http://[::1", "the URL 'http://[::1' of the service is not valid: Invalid port: ':1'"),
    ],
)
def test_a_wrong_url_is_refused_with_a_right_one(offline: Run, url: str, message: str) -> None:
    result = offline("search", "list", "--url", url)

    assert (result.exit_code, result.stderr) == (2, f"error: {message}\n")


def test_a_reader_that_has_enough_is_no_error(service: Service) -> None:
    asked = f"{sys.executable} -m cli.main dataset list --format json --url {service.url} | true"
    found = subprocess.run(
        ["bash", "-c", asked],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stderr == ""


def test_a_wrong_option_is_refused_in_words(offline: Run) -> None:
    port = offline("up", "--port", "99999")
    status = offline("search", "list", "--status", "foo")

    assert (port.exit_code, status.exit_code) == (2, 2)
    assert "'--port': must be less than or equal to 65535" in port.stderr
    assert "'--status': 'foo' is not one of 'queued'" in status.stderr


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("predict", "No such command 'predict'. Did you mean 'searchd detector predict'?"),
        ("submit", "Did you mean 'searchd search submit', 'searchd distillation submit'?"),
        ("poool", "No such command 'poool'. Did you mean 'pool'"),
        ("paint", "No such command 'paint'."),
    ],
)
def test_a_command_without_its_group_is_found(offline: Run, command: str, hint: str) -> None:
    result = offline(command, "x")

    assert result.exit_code == 2
    assert hint in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("name", ["My Search", "", "../pools", "a?b"])
def test_what_is_no_name_is_refused_before_the_call(offline: Run, name: str) -> None:
    result = offline("search", "show", name)

    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {name!r} is neither a name nor an id, which have only letters, digits, '-' and "
        "'_'\n"
    )


@pytest.mark.parametrize("command", ["show", "trials", "cancel"])
def test_a_misspelt_name_is_told_with_the_right_one(
    searchd: Run, database: Database, command: str
) -> None:
    add_search(database, "photos")

    result = searchd("search", command, "fotos")

    message = "error: search 'fotos' does not exist; did you mean photos?\n"
    assert (result.exit_code, result.stderr) == (1, message)


def test_a_name_with_a_slash_does_not_exist(searchd: Run) -> None:
    result = searchd("search", "show", "team/first")

    assert result.exit_code == 1
    assert result.stderr.endswith("/api/v1/searches/team/first does not exist\n")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data.sqlite", "SEARCHD_DATABASE_URL is not a URL; write sqlite:"),
        ("mysql://u:secret@h/d", "SEARCHD_DATABASE_URL begins with mysql://, which searchd does"),
        ("postgresql://u:secret@h/d", "SEARCHD_DATABASE_URL begins with postgresql://, which"),
    ],
)
def test_a_wrong_database_url_is_refused_without_its_password(
    offline: Run, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setenv("SEARCHD_DATABASE_URL", url)

    result = offline("token", "list")

    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}")
    assert "secret" not in result.stderr


def test_a_file_that_is_no_database_is_said_to_be_none(
    offline: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEARCHD_DATA_FOLDER", str(tmp_path))
    (tmp_path / "searchd.sqlite").write_text(100 * "not a database ")

    result = offline("token", "list")

    assert result.exit_code == 1
    assert result.stderr == "error: the database cannot be used: file is not a database\n"


def test_the_database_of_a_newer_version_is_refused(
    offline: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEARCHD_DATA_FOLDER", str(tmp_path))
    upgrade(f"sqlite:///{tmp_path / 'searchd.sqlite'}")
    connection = sqlite3.connect(tmp_path / "searchd.sqlite")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()

    result = offline("token", "list")

    assert result.exit_code == 1
    assert result.stderr == (
        "error: the database was written by a newer version of searchd (migration 9999); use that "
        "version, or another database\n"
    )


def test_wrong_settings_are_named_by_their_variables(
    offline: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCHD_POLL_S", "often")
    monkeypatch.setenv("SEARCHD_MAX_ATTEMPTS", "0")

    result = offline("token", "list")

    assert result.exit_code == 2
    assert result.stderr == (
        "error: the environment has invalid settings:\n"
        '  SEARCHD_POLL_S: must be a number, not "often"\n'
        '  SEARCHD_MAX_ATTEMPTS: must be at least 1, not "0"\n'
    )


def test_a_folder_that_cannot_be_made_is_named(offline: Run) -> None:
    result = offline("up", "--data-folder", "/proc/searchd", "--port", "0")

    assert (result.exit_code, result.stderr) == (
        1,
        "error: /proc/searchd: No such file or directory\n",
    )
