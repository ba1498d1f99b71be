"""Settings of `searchd up` that differ from those of a service on a cluster."""

from pathlib import Path

import pytest

from cli.local_service import Service
from searchd.domain.capacity import NodeGroup


def test_no_node_is_expected_to_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEARCHD_CLUSTER_NODES", raising=False)

    assert Service(tmp_path / "data", api_port=0).settings.cluster_nodes == "present"


def test_nodes_that_the_operator_names_may_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCHD_CLUSTER_NODES", '[{"count": 8, "cpus": 2, "gpus": 0}]')

    settings = Service(tmp_path / "data", api_port=0).settings

    assert settings.cluster_nodes == (NodeGroup(count=8, cpus=2, gpus=0),)
