"""The port to Ray's Jobs API. Ray itself runs in test_up, where `RayJobs` plays the scenario."""

import pytest

from cli.child_processes import free_ports
from searchd.coordinator.jobs import JobStatus, RayJobs
from searchd.domain.errors import ClusterUnreachableError
from tests.cli.jobs_scenario import scenario
from tests.searchd.coordinator.scripted_jobs import ScriptedJobs


def test_scripted_jobs_keep_the_ports_promises() -> None:
    jobs = ScriptedJobs()

    def run_until(job_id: str, status: JobStatus) -> None:
        jobs.statuses[job_id] = status
        jobs.logs["failure-1"] = "Running entrypoint\nfirst\na word with spaces"

    scenario(jobs, run_until)


def test_ray_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray's client prefers these to the address that it is given.
    monkeypatch.setenv("RAY_ADDRESS", "http://192.0.2.1:8265")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://192.0.2.1:8265")
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    jobs = RayJobs(url)

    for call in (jobs.nodes, lambda: jobs.status("search-1"), lambda: jobs.log_tail("search-1")):
        with pytest.raises(ClusterUnreachableError, match=f"Ray at {url} does not answer"):
            call()
