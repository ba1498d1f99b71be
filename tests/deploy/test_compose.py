"""docker-compose.yml and its images: every name that they use exists. No container is run."""

import json
import os
import re
import stat
import subprocess
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ray.scripts.scripts import cli as ray_cli

from searchd import settings
from searchd.settings import SETTINGS_FILE, Settings
from tests.deploy.compose import ROOT, command_of, new_env, rendered, secrets_of

OWN = ("api", "coordinator", "ray-head", "ray-worker-cpu", "ray-worker-gpu")
"""Services that run searchd's own images."""
SECRETS = ("PASSWORD", "TOKEN", "SETTINGS", "CREDENTIALS", "IDENTITIES")


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return new_env(tmp_path_factory.mktemp("compose"))


@pytest.fixture(scope="module")
def compose(env: dict[str, str]) -> dict[str, Any]:
    return rendered(env)


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    services: dict[str, Any] = compose["services"]
    return services


def test_the_file_has_every_part_of_the_service(services: dict[str, Any]) -> None:
    assert sorted(services) == [
        "api", "artifacts", "coordinator", "grafana", "postgres", "prometheus", "ray-head",
        "ray-worker-cpu", "ray-worker-gpu",
    ]  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_every_variable_is_a_setting(services: dict[str, Any], name: str) -> None:
    known = {f"SEARCHD_{field.upper()}" for field in Settings.model_fields}
    given = {v for v in services[name]["environment"] if v.startswith("SEARCHD_")}

    assert given - known - {SETTINGS_FILE} == set()


def test_the_settings_of_the_api_admit_only_holders_of_tokens(
    services: dict[str, Any], env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "searchd_settings"
    file.write_text(env["SEARCHD_SETTINGS"])
    file.chmod(0o400)
    for name, value in services["api"]["environment"].items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv(SETTINGS_FILE, str(file))

    loaded = settings.load()

    loaded.check_access()
    assert loaded.auth is True
    assert loaded.artifact_root == "s3://searchd/artifacts"
    assert loaded.database == (
        f"postgresql+psycopg://searchd:{env['POSTGRES_PASSWORD']}@postgres:5432/searchd"
    )


def test_every_command_exists(services: dict[str, Any]) -> None:
    for name in OWN:
        program, *arguments = command_of(services[name])
        if program == "ray":
            start = ray_cli.commands[arguments[0]]
            start.make_context(arguments[0], arguments[1:])  # raises for an unknown option
        else:
            assert (program, arguments[0]) == ("python", "-m")
            assert find_spec(arguments[1]) is not None


def test_everything_published_is_on_loopback(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}

    assert published == {
        "api": ["127.0.0.1:8080:8080"],
        "grafana": ["127.0.0.1:3000:3000"],
        "ray-head": ["127.0.0.1:8265:8265"],
    }


def test_what_others_wait_for_has_a_health_check(services: dict[str, Any]) -> None:
    awaited = {
        name
        for service in services.values()
        for name, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }

    assert awaited == {"api", "artifacts", "postgres", "prometheus", "ray-head"}
    assert [name for name in awaited if "healthcheck" not in services[name]] == []


def test_secrets_reach_containers_as_files_only(
    compose: dict[str, Any], services: dict[str, Any], env: dict[str, str]
) -> None:
    values = [value for name, value in env.items() if name.endswith(SECRETS)]

    assert len(values) == 6
    assert {given["environment"] for given in compose["secrets"].values()} <= env.keys()
    for name, service in services.items():
        assert not any(value in json.dumps(service) for value in values), name


def test_workers_do_not_know_the_database(services: dict[str, Any]) -> None:
    for name in ("ray-worker-cpu", "ray-worker-gpu"):
        assert secrets_of(services[name]) == {"ray_token", "s3_credentials"}


def test_the_head_offers_no_cpus_since_its_image_has_no_torch(services: dict[str, Any]) -> None:
    assert "--num-cpus=0" in command_of(services["ray-head"])
    assert services["ray-head"]["image"] == "searchd-control"


def test_each_image_is_a_target_of_the_dockerfile(services: dict[str, Any]) -> None:
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "deploy/Dockerfile").read_text(), re.M)

    assert {services[name]["build"]["target"] for name in OWN} == {"control", "worker"}
    assert {"control", "worker"} <= set(stages)


def test_new_env_makes_files_that_agree_and_keeps_them(tmp_path: Path) -> None:
    env = new_env(tmp_path)
    credentials = ConfigParser()
    credentials.read_string(env["S3_CREDENTIALS"])
    (identity,) = json.loads(env["S3_IDENTITIES"])["identities"]
    before = (tmp_path / ".env").read_text()

    again = subprocess.run([tmp_path / "deploy/new-env"], capture_output=True, text=True)

    assert stat.S_IMODE(os.stat(tmp_path / ".env").st_mode) == 0o600
    assert identity["credentials"] == [
        {
            "accessKey": credentials["default"]["aws_access_key_id"],
            "secretKey": credentials["default"]["aws_secret_access_key"],
        }
    ]
    assert len({env["POSTGRES_PASSWORD"], env["GRAFANA_PASSWORD"], env["RAY_TOKEN"]}) == 3
    assert again.returncode == 1
    assert "cannot overwrite" in again.stderr
    assert (tmp_path / ".env").read_text() == before
