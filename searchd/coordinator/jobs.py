"""Drivers as Ray jobs: submit, query, stop, read logs; and the nodes of the cluster. No database.

`Jobs` is the port that the coordinator sees; `RayJobs` speaks to Ray's Jobs API.
"""

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from shlex import join as shell_join
from typing import Any, Protocol

from ray import job_submission
from ray.exceptions import AuthenticationError
from ray.util.state import list_nodes
from ray.util.state.exception import RayStateApiException
from typing_extensions import override

from searchd.domain.capacity import Node as Node  # part of the port
from searchd.domain.errors import ClusterUnreachableError

_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""Variables that Ray's client prefers to the address it is given (2.60)."""
_FAILURES = (RuntimeError, OSError, AuthenticationError)
"""What Ray's client raises when the cluster refuses, is unreachable, or expects another token."""


class JobStatus(StrEnum):
    """The status of a job in Ray.

    Attributes:
        MISSING: Ray knows no job of this id.
        PENDING: Submitted; its process is not running yet.
        RUNNING: Its process runs.
        SUCCEEDED: Its process ended with exit code 0. Final.
        FAILED: Its process could not be started, ended with another code, or was killed. Final.
        STOPPED: Ray was asked to stop it. Final.
    """

    MISSING = "missing"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_alive(self) -> bool:
        return self in (JobStatus.PENDING, JobStatus.RUNNING)


class Jobs(Protocol):
    """Starts and monitors drivers. The caller chooses the ids and never uses one twice.

    Every method raises ClusterUnreachableError when the cluster does not answer; the status of the
    job is then unknown.
    """

    def submit(self, job_id: str, command: Sequence[str], metadata: Mapping[str, str]) -> None:
        """Start a job unless there is one of this id already.

        Args:
            job_id: Its id.
            command: Program and arguments. Shown to every reader of the dashboard: no secrets.
            metadata: Shown in the dashboard too.
        """

    def status(self, job_id: str) -> JobStatus:
        """Return the status of the job."""

    def stop(self, job_id: str) -> None:
        """Ask a job to end: SIGTERM, then SIGKILL. Has no effect if it has ended or is missing."""

    def log_tail(self, job_id: str, num_lines: int = 20) -> str:
        """Return the last lines of the job's log; empty if the job is missing."""

    def nodes(self) -> list[Node]:
        """Return the nodes of the cluster that are alive."""


class JobMissingError(RuntimeError):
    """Ray knows no job of this id."""


class JobClient(job_submission.JobSubmissionClient):
    """Ray's client, which itself raises RuntimeError for every HTTP status (2.60)."""

    @override
    def _raise_error(self, r: Any) -> None:
        if r.status_code == HTTPStatus.NOT_FOUND:
            raise JobMissingError(r.text)
        super()._raise_error(r)


class RayJobs:
    """`Jobs` on Ray's dashboard. Takes the token from RAY_AUTH_TOKEN.

    Args:
        dashboard_url: Such as http://127.0.0.1:8265. The first call connects to it.
    """

    def __init__(self, dashboard_url: str) -> None:
        for name in _OVERRIDES:
            os.environ.pop(name, None)
        self._url = dashboard_url
        self._connected: job_submission.JobSubmissionClient | None = None

    def submit(self, job_id: str, command: Sequence[str], metadata: Mapping[str, str]) -> None:
        # A second job of the same id would be refused with an HTTP 500 that says little.
        if self.status(job_id) is not JobStatus.MISSING:
            return
        try:
            self._client().submit_job(
                # exec: signals reach the driver itself and not a shell around it.
                entrypoint=f"exec {shell_join(command)}",
                submission_id=job_id,
                metadata=dict(metadata),
            )
        except _FAILURES as error:
            raise self._unreachable(error) from error

    def status(self, job_id: str) -> JobStatus:
        try:
            return JobStatus(self._client().get_job_status(job_id).value.lower())
        except JobMissingError:
            return JobStatus.MISSING
        except _FAILURES as error:
            raise self._unreachable(error) from error

    def stop(self, job_id: str) -> None:
        try:
            self._client().stop_job(job_id)
        except JobMissingError:
            return
        except _FAILURES as error:
            raise self._unreachable(error) from error

    def log_tail(self, job_id: str, num_lines: int = 20) -> str:
        try:
            logs = self._client().get_job_logs(job_id)
        except JobMissingError:
            return ""
        except _FAILURES as error:
            raise self._unreachable(error) from error
        return "\n".join(logs.splitlines()[-num_lines:])

    def nodes(self) -> list[Node]:
        try:
            # Once a node has died, Ray 2.60 counts the nodes that the filter excludes as missing
            # output, and would raise in every call.
            found: list[Any] = list_nodes(
                address=self._url,
                filters=[_ALIVE],
                limit=_MAX_NODES,
                raise_on_missing_output=False,
            )
        except (RayStateApiException, *_FAILURES) as error:
            raise self._unreachable(error) from error
        return [_node(node.resources_total or {}) for node in found]

    def _client(self) -> job_submission.JobSubmissionClient:
        if self._connected is None:
            self._connected = JobClient(self._url)
        return self._connected

    def _unreachable(self, error: Exception) -> ClusterUnreachableError:
        # The error may be long and contain a traceback of Ray; its first line says what happened.
        first_line = str(error).partition("\n")[0]
        return ClusterUnreachableError(f"Ray at {self._url} does not answer: {first_line}")


_ALIVE = ("state", "=", "ALIVE")
_MAX_NODES = 10_000
"""The maximum that Ray's API accepts."""


def _node(resources: Mapping[str, float]) -> Node:
    return Node(cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0))
