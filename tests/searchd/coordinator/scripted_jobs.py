"""The port `searchd.coordinator.jobs.Jobs` in memory, for tests that script what Ray does."""

from collections.abc import Mapping, Sequence

from searchd.coordinator.jobs import JobStatus, Node
from searchd.domain.errors import ClusterUnreachableError


class ScriptedJobs:
    """Jobs stay where a test puts them.

    Attributes:
        statuses: By job id; a test moves them.
        commands: Of every job submitted.
        metadata: Of every job submitted.
        logs: What `log_tail` returns.
        cluster: What `nodes` returns.
        reachable: While False, every call fails.
    """

    def __init__(self, *nodes: Node) -> None:
        self.statuses: dict[str, JobStatus] = {}
        self.commands: dict[str, list[str]] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.logs: dict[str, str] = {}
        self.cluster = list(nodes) or [Node(cpus=2, gpus=0)]
        self.reachable = True

    def submit(self, job_id: str, command: Sequence[str], metadata: Mapping[str, str]) -> None:
        if self.status(job_id) is not JobStatus.MISSING:
            return
        self.statuses[job_id] = JobStatus.PENDING
        self.commands[job_id] = list(command)
        self.metadata[job_id] = dict(metadata)

    def status(self, job_id: str) -> JobStatus:
        self._check_reachable()
        return self.statuses.get(job_id, JobStatus.MISSING)

    def stop(self, job_id: str) -> None:
        if self.status(job_id).is_alive:
            self.statuses[job_id] = JobStatus.STOPPED

    def log_tail(self, job_id: str, num_lines: int = 20) -> str:
        self._check_reachable()
        return "\n".join(self.logs.get(job_id, "").splitlines()[-num_lines:])

    def nodes(self) -> list[Node]:
        self._check_reachable()
        return self.cluster

    def _check_reachable(self) -> None:
        if not self.reachable:
            raise ClusterUnreachableError("Ray at http://scripted does not answer")
