"""The nodes of the cluster, as Ray's dashboard lists them. Does not import Ray."""

import os
import time
from threading import Lock
from typing import Any

import httpx

from searchd.domain.capacity import Node

_TIMEOUT_S = 5.0
_FRESH_S = 10.0
"""Seconds for which the nodes are not queried again."""
_MAX_NODES = 10_000
"""The maximum that Ray's API accepts."""


class Cluster:
    """The nodes of the cluster. Safe to share between threads.

    Args:
        dashboard_url: URL of Ray's dashboard. The token is taken from RAY_AUTH_TOKEN.
    """

    def __init__(self, dashboard_url: str) -> None:
        self._url = f"{dashboard_url.rstrip('/')}/api/v0/nodes?limit={_MAX_NODES}"
        self._lock = Lock()
        self._found: list[Node] | None = None
        self._asked_at = -_FRESH_S

    def nodes(self) -> list[Node] | None:
        """Return the nodes that are alive; None if the cluster does not answer."""
        with self._lock:
            if time.monotonic() - self._asked_at >= _FRESH_S:
                self._found = self._query()
                self._asked_at = time.monotonic()
            return self._found

    def _query(self) -> list[Node] | None:
        token = os.environ.get("RAY_AUTH_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            response = httpx.get(self._url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)
            response.raise_for_status()
            listed = response.json()["data"]["result"]["result"]
            return [_node(each) for each in listed if each["state"] == "ALIVE"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None


def _node(listed: dict[str, Any]) -> Node:
    resources = listed.get("resources_total") or {}
    return Node(cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0))
