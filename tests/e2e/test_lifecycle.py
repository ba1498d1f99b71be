"""Pause, resume, extend and kill as users do it: real service, real Ray, real training."""

import contextlib
import logging
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from api.client import Client
from cli.child_processes import marked
from cli.local_service import MARK, Service
from searchd.domain.lifecycle import PoolStatus, SearchStatus, TrialStatus
from searchd.messages.reports import Progress
from searchd.spec import PoolSpec, ResourcesSpec, SearchSpec
from tests.e2e.specs import ONE_AT_A_TIME, POOL, SEARCH

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

log = logging.getLogger(__name__)

EPOCHS = 16
BOUND_S = 60
"""Bound in seconds on the time in which a pause frees every GPU."""


@pytest.fixture(scope="module")
def slow_pool(client: Client) -> str:
    """A pool that trains for long; its name."""
    pool = PoolSpec.model_validate({**POOL, "name": "slow-teachers"})
    phases = tuple(p.model_copy(update={"epochs": EPOCHS // 2}) for p in pool.phases)
    client.create_pool(pool.model_copy(update={"phases": phases}))
    return pool.name


def submit(client: Client, pool: str, name: str, epochs: int) -> str:
    """A search whose base is trained for this number of epochs; its id."""
    spec = SearchSpec.model_validate(SEARCH)
    training = spec.base.training.model_copy(update={"epochs": epochs})
    changes = {
        "name": name,
        "pool": pool,
        "base": spec.base.model_copy(update={"training": training}),
        "budget": spec.budget.model_copy(update={"max_trials": 1, "finish": None}),
        "control": False,
        "resources": ResourcesSpec.model_validate(ONE_AT_A_TIME),
    }
    return client.submit_search(spec.model_copy(update=changes)).id


def seconds_until(condition: Callable[[], object], timeout_s: float = 400) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s
        time.sleep(0.2)
    return time.monotonic() - start


def processes(service: Service, *words: str) -> list[psutil.Process]:
    """Return the processes of the service with one of the words in their command line."""
    found = []
    for process in marked(MARK, str(service.data_folder)):
        with contextlib.suppress(psutil.NoSuchProcess):
            line = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and any(word in line for word in words):
                found.append(process)
    return found


def at(client: Client, search: str, attempt: int) -> Progress | None:
    """Return the progress of this attempt at the base, or None before its training starts."""
    for trial in client.trials(search):
        progress = trial.progress
        if trial.name == "base" and progress is not None and progress.attempt == attempt:
            return progress if progress.stage == "train" else None
    return None


def test_paused_search_and_pool_free_the_cluster_and_resume_where_they_were(
    service: Service, client: Client, slow_pool: str
) -> None:
    search = submit(client, slow_pool, "paused", EPOCHS)
    seconds_until(lambda: (now := at(client, search, 1)) and now.epoch > 2)
    before = at(client, search, 1)
    assert before is not None

    client.ask_of_search(search, "pause")
    pool_status = client.ask_of_pool(slow_pool, "pause").status
    freed_s = seconds_until(
        lambda: not processes(service, "searchd.driver", "ray::Trial", "ray::RayTrain")
    )

    log.info("pause: no driver and no worker after %.1f s (bound %d s)", freed_s, BOUND_S)
    assert freed_s < BOUND_S
    assert client.get_search(search).status is SearchStatus.PAUSED
    assert client.get_pool(slow_pool).status is PoolStatus.PAUSED, pool_status
    assert next(iter(client.trials(search))).status is TrialStatus.PENDING

    client.ask_of_search(search, "resume")
    client.ask_of_pool(slow_pool, "resume")
    seconds_until(lambda: at(client, search, 2))
    after = at(client, search, 2)
    assert after is not None
    log.info("paused at or after %s, resumed at or before %s", before, after)
    assert (after.epoch, after.iteration) >= (before.epoch, before.iteration)
    ended = client.wait_for_search(search, poll_s=0.5)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    base = client.get_trial(f"{search}-base")
    assert (base.attempt, [epoch.epoch for epoch in base.epochs]) == (2, [*range(1, EPOCHS + 1)])
    pool = client.get_pool(slow_pool)
    assert pool.status is PoolStatus.READY
    assert [epoch.epoch for epoch in pool.epochs] == [*range(1, EPOCHS // 2 + 1)] * 2


def test_extended_search_resumes_and_trains_nothing_again(client: Client) -> None:
    ended = client.get_search("paused")
    before = {trial.name: trial for trial in client.trials("paused")}
    assert set(before) == {"base", "0"}

    assert client.extend_search(ended.id, max_trials=2).status is SearchStatus.QUEUED

    assert client.wait_for_search(ended.id, poll_s=0.5).status is SearchStatus.SUCCEEDED
    after = {trial.name: trial for trial in client.trials("paused")}
    assert set(after) == {"base", "0", "1"}
    for name, trial in before.items():
        assert (after[name].attempt, after[name].score) == (trial.attempt, trial.score)


def test_killed_search_ends_although_its_driver_hangs(
    service: Service, client: Client, slow_pool: str
) -> None:
    search = submit(client, slow_pool, "killed", 1000)
    seconds_until(lambda: at(client, search, 1))
    (driver,) = processes(service, f"--work=search-{search}")
    driver.send_signal(signal.SIGSTOP)

    client.ask_of_search(search, "kill")
    ended_s = seconds_until(lambda: client.get_search(search).status is SearchStatus.CANCELLED)
    freed_s = seconds_until(lambda: not processes(service, f"--work=search-{search}", "ray::Trial"))

    log.info("kill: cancelled after %.1f s, nothing left %.1f s later", ended_s, freed_s)
    assert ended_s < BOUND_S / 2
    assert ended_s + freed_s < BOUND_S
    assert [t.status for t in client.trials(search)] == [TrialStatus.CANCELLED]
