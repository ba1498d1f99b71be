"""What every adapter of the port `searchd.coordinator.jobs.Jobs` must do, as one story.

Ray reads its token when it is imported, so `python -m tests.cli.jobs_scenario URL` plays it
against a cluster in a process of its own.
"""

import sys
import time
from collections.abc import Callable

from searchd.coordinator.jobs import Jobs, JobStatus, RayJobs

SLEEPS = [sys.executable, "-c", "print('asleep', flush=True); import time; time.sleep(600)"]
FAILS = [sys.executable, "-c", "print('first'); print('a word with spaces'); raise SystemExit(3)"]


def scenario(jobs: Jobs, run_until: Callable[[str, JobStatus], None]) -> None:
    """Play the story.

    Args:
        jobs: The adapter; its cluster has two CPUs.
        run_until: Lets the cluster continue until the job has the status.
    """
    (node,) = jobs.nodes()
    assert (node.cpus, node.gpus) == (2, 0)

    assert jobs.status("nobody-1") is JobStatus.MISSING
    assert jobs.log_tail("nobody-1") == ""
    jobs.stop("nobody-1")

    jobs.submit("sleeper-1", SLEEPS, {"search": "s-234567"})
    assert jobs.status("sleeper-1").is_alive
    run_until("sleeper-1", JobStatus.RUNNING)
    jobs.submit("sleeper-1", FAILS, {})  # there is one of this id: nothing happens
    assert jobs.status("sleeper-1") is JobStatus.RUNNING
    jobs.stop("sleeper-1")
    run_until("sleeper-1", JobStatus.STOPPED)
    jobs.stop("sleeper-1")
    assert jobs.status("sleeper-1") is JobStatus.STOPPED

    jobs.submit("failure-1", FAILS, {})
    run_until("failure-1", JobStatus.FAILED)
    assert jobs.log_tail("failure-1", 2) == "first\na word with spaces"


def _wait(jobs: Jobs, job_id: str, status: JobStatus) -> None:
    deadline = time.monotonic() + 60
    while jobs.status(job_id) is not status:
        assert time.monotonic() < deadline, f"{job_id} is {jobs.status(job_id)}, not {status}"
        time.sleep(0.2)


if __name__ == "__main__":
    ray_jobs = RayJobs(sys.argv[1])
    scenario(ray_jobs, lambda job_id, status: _wait(ray_jobs, job_id, status))
