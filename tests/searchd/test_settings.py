"""Settings come from the environment or a private file; secrets do not show."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from searchd import settings
from searchd.domain.capacity import ANY, FIXED, Growth, NodeGroup
from searchd.domain.errors import InvalidValueError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in settings.Settings().environment():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(settings.SETTINGS_FILE, raising=False)


def test_everything_lies_in_the_data_folder_unless_said_otherwise(tmp_path: Path) -> None:
    loaded = settings.load()
    assert loaded.database == f"sqlite:///{tmp_path}/searchd-data/searchd.sqlite"
    assert loaded.artifact_root == f"{tmp_path}/searchd-data/artifacts"
    assert loaded.api_host == "127.0.0.1"
    assert loaded.max_running_searches == 1


def test_the_environment_gives_a_child_process_the_same_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEARCHD_DATABASE_URL", "postgresql+psycopg://u:secret@db/x")
    monkeypatch.setenv("SEARCHD_MAX_RUNNING_SEARCHES", "3")
    parent = settings.load()
    for name, value in parent.environment().items():
        monkeypatch.setenv(name, value)
    child = settings.load()
    assert (child.database, child.max_running_searches) == (parent.database, 3)
    assert child.data_folder == parent.data_folder.absolute()
    assert "secret" not in repr(child)


def test_a_private_file_holds_settings_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "searchd.env"
    file.write_text("SEARCHD_DATABASE_URL=sqlite:////x.sqlite\nSEARCHD_API_PORT=1\n")
    file.chmod(0o600)
    monkeypatch.setenv(settings.SETTINGS_FILE, str(file))
    monkeypatch.setenv("SEARCHD_API_PORT", "2")
    loaded = settings.load()
    assert (loaded.database, loaded.api_port) == ("sqlite:////x.sqlite", 2)


def test_a_file_that_others_may_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "searchd.env"
    file.write_text("")
    file.chmod(0o644)
    monkeypatch.setenv(settings.SETTINGS_FILE, str(file))
    with pytest.raises(InvalidValueError, match="mode 0644 .* chmod 600"):
        settings.load()


def test_a_missing_file_and_an_illegal_value_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.SETTINGS_FILE, "/nowhere.env")
    with pytest.raises(InvalidValueError, match="/nowhere.env: no such file"):
        settings.load()
    monkeypatch.delenv(settings.SETTINGS_FILE)
    monkeypatch.setenv("SEARCHD_LEASE_S", "0")
    with pytest.raises(ValidationError, match="lease_s"):
        settings.load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"api_host": "0.0.0.0"}, "set SEARCHD_AUTH=on, or SEARCHD_API_HOST=127.0.0.1"),
        ({"api_host": "::"}, "SEARCHD_API_HOST=:: lets others reach the API"),
        ({"api_host": "example.org"}, "SEARCHD_API_HOST=example.org lets others"),
        ({"api_host": ""}, "SEARCHD_API_HOST= lets others"),
        ({"auth": True}, "SEARCHD_AUTH=on needs SEARCHD_DATA_ROOTS"),
        ({"data_roots": "/data:here"}, "SEARCHD_DATA_ROOTS names here; give absolute paths"),
    ],
)
def test_access_that_would_let_anybody_in_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        settings.Settings(**changes).check_access()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"api_host": "localhost"},
        {"api_host": "::1"},
        {"api_host": "127.0.0.2", "data_roots": "/data"},
        {"api_host": "0.0.0.0", "auth": True, "data_roots": "/data"},
    ],
)
def test_access_that_somebody_decided_on_is_allowed(changes: dict[str, Any]) -> None:
    settings.Settings(**changes).check_access()


def test_authentication_is_on_or_off_and_roots_are_separated_as_in_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings.load().auth is False
    monkeypatch.setenv("SEARCHD_AUTH", "on")
    monkeypatch.setenv("SEARCHD_DATA_ROOTS", "/data:/more")
    loaded = settings.load()
    assert (loaded.auth, loaded.roots) == (True, (Path("/data"), Path("/more")))
    monkeypatch.setenv("SEARCHD_AUTH", loaded.environment()["SEARCHD_AUTH"])
    assert settings.load().auth is True


def test_the_nodes_that_a_cluster_may_have_reach_a_child_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings.load().growth == ANY
    monkeypatch.setenv("SEARCHD_CLUSTER_NODES", "present")
    assert settings.load().growth == FIXED
    monkeypatch.setenv("SEARCHD_CLUSTER_NODES", '[{"count": 8, "cpus": 16, "gpus": 1}]')
    monkeypatch.setenv(
        "SEARCHD_CLUSTER_NODES", settings.load().environment()["SEARCHD_CLUSTER_NODES"]
    )

    assert settings.load().growth == Growth(groups=(NodeGroup(count=8, cpus=16, gpus=1),))


@pytest.mark.parametrize("given", ["8 nodes", '[{"cpu": 16}]', '[{"cpus": 16}]'])
def test_nodes_that_are_not_described_are_refused(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCHD_CLUSTER_NODES", given)
    with pytest.raises(ValidationError, match="cluster_nodes"):
        settings.load()


def test_sinks_are_separated_by_commas_and_a_misspelt_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings.load().sink_kinds == ()
    monkeypatch.setenv("SEARCHD_SINKS", "mlflow, tensorboard,mlflow")
    monkeypatch.setenv("SEARCHD_MLFLOW_TRACKING_URI", "http://me:secret@mlflow:5000")
    loaded = settings.load()
    assert loaded.sink_kinds == ("mlflow", "tensorboard")
    assert "mlflow" in loaded.usable_sinks
    assert "secret" not in repr(loaded)
    assert loaded.environment()["SEARCHD_MLFLOW_TRACKING_URI"] == "http://me:secret@mlflow:5000"
    monkeypatch.setenv("SEARCHD_SINKS", "tensorbord")
    with pytest.raises(ValidationError, match="'tensorbord' is no sink; there are tensorboard"):
        settings.load()
