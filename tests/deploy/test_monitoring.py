"""Prometheus and Grafana of docker-compose.yml: their files agree with each other and with the
metrics that the API really has. The containers themselves are not run."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from searchd.store import Database
from tests.api.test_auth import App

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "searchd.json"
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
METRIC = re.compile(r"\b((?:searchd|process)_[a-z_]+)\b")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = _yaml(ROOT / "docker-compose.yml")["services"]
    return services


def test_every_mounted_file_is_there(services: dict[str, Any]) -> None:
    mounts = [
        mount.split(":")[0]
        for name in ("prometheus", "grafana")
        for mount in services[name]["volumes"]
        if mount.startswith("./")
    ]

    assert len(mounts) == 3
    assert [mount for mount in mounts if not (ROOT / mount).exists()] == []


def test_prometheus_scrapes_the_api_where_it_listens(services: dict[str, Any]) -> None:
    (job,) = _yaml(ROOT / "deploy" / "prometheus" / "prometheus.yml")["scrape_configs"]

    assert "api" in services
    assert services["api"]["ports"] == ["127.0.0.1:8080:8080"]
    assert (job["metrics_path"], job["static_configs"]) == (
        "/metrics",
        [{"targets": ["api:8080"]}],
    )


def test_grafana_finds_prometheus_and_the_dashboard(services: dict[str, Any]) -> None:
    (source,) = _yaml(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]
    (provider,) = _yaml(PROVISIONING / "dashboards" / "searchd.yml")["providers"]

    assert source["url"] == "http://prometheus:9090"
    assert {target["datasource"]["uid"] for target in _targets()} == {source["uid"]}
    folder = provider["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in services["grafana"]["volumes"]


def test_every_panel_shows_metrics_that_the_api_has(sqlite: Database) -> None:
    app = App.on(sqlite)
    app.get("/healthz")
    names = {
        sample.name
        for family in text_string_to_metric_families(app.get("/metrics").text)
        for sample in family.samples
    }

    shown = {name for target in _targets() for name in METRIC.findall(target["expr"])}

    assert len(shown) > 12
    assert shown - names == set()


def test_panels_have_titles_and_descriptions_and_do_not_overlap() -> None:
    panels = [panel for panel in _panels() if panel["type"] != "row"]
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in _panels())
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]

    assert len({panel["id"] for panel in _panels()}) == len(_panels())
    assert [panel["title"] for panel in panels if not panel["description"].endswith(".")] == []
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return panels


def _targets() -> Iterator[dict[str, Any]]:
    for panel in _panels():
        yield from panel.get("targets", ())
