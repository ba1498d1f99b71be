"""The doctor finds what is missing and names the command that mends it."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.client import Client
from cli import doctor, doctor_service
from searchd.settings import Settings
from tests.api.service import Service
from tests.cli.conftest import Run


def test_doctor_says_what_is_missing_and_what_mends_it(
    offline: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no compiler there
    monkeypatch.setattr(doctor, "_MIN_FREE_GIB", 10**9)
    result = offline("doctor", "--data-folder", tmp_path / "new", "--format", "json")
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert checks["C++ compiler"] == {
        "name": "C++ compiler",
        "ok": False,
        "found": "none",
        "fix": "apt-get install g++",
    }
    assert not checks["1000000000 GiB free disk"]["ok"]
    assert checks["torch"]["ok"]
    assert checks["torch"]["fix"] == ""


def test_a_module_that_does_not_import_is_mended_by_installing() -> None:
    check = doctor._module("nothing", "there.is.no.such.module")
    assert not check.ok
    assert check.found == "ModuleNotFoundError: No module named 'there'"
    assert check.fix == "make install"


def test_places_of_a_service_are_checked(tmp_path: Path) -> None:
    here = Settings(data_folder=tmp_path, api_port=0)
    (tmp_path / "artifacts").mkdir()

    assert doctor_service.database(here).found == f"{tmp_path / 'searchd.sqlite'} will be made"
    assert doctor_service.artifact_store(here).ok
    assert list((tmp_path / "artifacts").iterdir()) == []
    assert doctor_service.port(here).ok
    assert "not compared: no service at http://127.0.0.1:9" in doctor_service.clock(AWAY).found


def test_places_that_cannot_be_used_are_named_with_what_mends_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    away = Settings(
        database_url=SecretStr("postgresql+psycopg://me:secret@127.0.0.1:9/searchd"),
        artifacts=str(tmp_path / "file" / "below"),
    )

    database, store = doctor_service.database(away), doctor_service.artifact_store(away)

    assert (database.ok, store.ok) == (False, False)
    assert "secret" not in database.found
    assert database.fix == "start the server, or correct SEARCHD_DATABASE_URL"
    assert store.fix == "correct SEARCHD_ARTIFACTS, or the rights and the space there"


@pytest.mark.parametrize(
    ("url", "found", "fix"),
    [
        ("secret", "SEARCHD_DATABASE_URL is not a URL", doctor_service._POSTGRESQL),
        (
            "postgres://me:secret@127.0.0.1/searchd",
            "postgres://me:***@127.0.0.1/searchd: searchd uses SQLite or PostgreSQL",
            doctor_service._POSTGRESQL,
        ),
    ],
)
def test_a_url_of_no_database_is_answered_with_the_form_of_one(
    url: str, found: str, fix: str
) -> None:
    check = doctor_service.database(Settings(database_url=SecretStr(url)))

    assert (check.ok, check.found, check.fix) == (False, found, fix)


def test_a_file_that_is_no_database_is_found(tmp_path: Path) -> None:
    (tmp_path / "searchd.sqlite").write_text("what is this")

    check = doctor_service.database(Settings(data_folder=tmp_path))

    assert (check.ok, "file is not a database" in check.found) == (False, True)
    assert check.fix.startswith("another data folder")


def test_a_store_without_its_library_is_mended_by_installing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # then its import is refused

    check = doctor_service.artifact_store(Settings(artifacts="s3://bucket/searchd"))

    assert (check.ok, check.fix) == (False, "pip install 'searchd[s3]'")


def test_the_clock_of_another_program_is_not_compared() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        check = doctor_service.clock(f"http://127.0.0.1:{other.server_port}")
        thread.join()

    assert check.found.startswith("not compared: no service at")


def test_a_running_service_has_the_port_and_the_time(service: Service) -> None:
    port = int(service.url.rpartition(":")[2])
    with Client(service.url) as client:
        assert client.is_ready()  # the first answer takes longest

    assert doctor_service.port(Settings(api_port=port)).found == "a searchd answers there"
    assert doctor_service.clock(service.url).ok
    assert f"s from the service's at {service.url}" in doctor_service.clock(service.url).found


AWAY = "http://127.0.0.1:9"
