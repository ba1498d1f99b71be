"""The whole service with real Ray and workers that train nothing: crashes, cancelling, stopping."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from api.client import ApiError, Client
from api.schemas import SearchDetails
from cli.child_processes import marked
from cli.local_service import MARK, Service
from searchd.domain.errors import ConflictError, InvalidValueError
from searchd.domain.lifecycle import (
    DatasetStatus,
    PoolStatus,
    SearchStatus,
    TeacherStatus,
    TrialStatus,
)
from searchd.spec import (
    BudgetSpec,
    DatasetSpec,
    MmdetSpec,
    PoolSpec,
    ResourcesSpec,
    SearchSpec,
    SplitSpec,
    TeacherSpec,
)
from searchd.spec.webhooks import WebhookSpec
from tests import fake_workers
from tests.fake_workers import ACCIDENTS, ENDLESS, attempts_begun
from tests.webhook_receiver import Receiver, receiving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ENVIRONMENT = {
    **fake_workers.ENVIRONMENT,
    "SEARCHD_POLL_S": "0.5",
    "SEARCHD_SLICE_S": "0.1",
    "SEARCHD_SILENCE_S": "3",
    "SEARCHD_SINKS": "tensorboard",
    "SEARCHD_WEBHOOK_PRIVATE_NETWORKS": "on",
}


@dataclass(frozen=True)
class Told:
    """A webhook: who is told, and the key of the signatures."""

    receiver: Receiver
    secret: str


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("up") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEARCHD_TOKEN", "searchd_of-whoever-starts-it")
        with Service(folder, num_cpus=2, api_port=0, environment=ENVIRONMENT) as service:
            patch.undo()
            yield service
    assert marked(MARK, str(folder)) == []


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture(scope="module")
def told(service: Service) -> Iterator[Told]:
    """The receiver of a webhook of the service."""
    with receiving() as receiver, Client(service.url) as client:
        yield Told(receiver, client.create_webhook(WebhookSpec(url=receiver.url)).secret)


@pytest.fixture(scope="module")
def accidents(service: Service, told: Told) -> SearchDetails:
    """A search with accidents, which has ended; it is told to the webhook."""
    assert told.receiver.requests == []
    with Client(service.url) as client:
        return client.wait_for_search(submit(client, ACCIDENTS), poll_s=0.5)


@pytest.fixture(scope="module")
def endless(service: Service) -> str:
    """A search whose base trial runs until it is asked to stop; its id."""
    with Client(service.url) as client:
        return submit(client, ENDLESS)


def submit(client: Client, name: str, *, max_trials: int = 6) -> str:
    """A search on a data set and a pool of its own, all called `name`; its id."""
    split = SplitSpec(annotations=Path("/data/train.json"), images=Path("/data"))
    client.create_dataset(DatasetSpec(name=name, train=split, validation=split))
    client.create_pool(PoolSpec(name=name, dataset=name))
    spec = SearchSpec(
        name=name,
        dataset=name,
        pool=name,
        budget=BudgetSpec(max_trials=max_trials, finish=None),
        resources=ResourcesSpec(trials_in_flight=2),
    )
    return client.submit_search(spec).id


def wait_until(condition: Callable[[], bool], timeout_s: float = 120) -> float:
    """Seconds until the condition held."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s
        time.sleep(0.1)
    return time.monotonic() - start


def lives(process: psutil.Process) -> bool:
    """Neither gone nor ended and waiting to be collected by its parent."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def drivers(service: Service, search: str) -> list[psutil.Process]:
    found = []
    for process in marked(MARK, str(service.data_folder)):
        # One that was killed may be a zombie by now: it is no driver any more.
        with contextlib.suppress(psutil.NoSuchProcess):
            if f"--work=search-{search}" in process.cmdline():
                found.append(process)
    return found


def artifact_root(service: Service) -> Path:
    return Path(service.settings.artifact_root)


def test_search_survives_a_killed_driver_a_lost_and_a_hung_worker_and_repeats_nothing_finished(
    service: Service, client: Client, accidents: SearchDetails
) -> None:
    ended, search = accidents, accidents.id

    assert (ended.status, ended.status_reason) == (SearchStatus.SUCCEEDED, "budget: 6 trials")
    assert client.get_dataset(ACCIDENTS).status is DatasetStatus.READY
    assert client.get_pool(ACCIDENTS).status is PoolStatus.READY
    trials = {trial.name: trial for trial in client.trials(search)}
    assert {trial.status for trial in trials.values()} == {TrialStatus.SUCCEEDED}
    begun = attempts_begun(artifact_root(service), search)
    assert len(begun) == len(set(begun))
    # Trial 2 had written its report when its driver was killed: adopted, not trained again.
    assert "2/1" in begun
    assert "2/2" not in begun
    # The worker of trial 3 died, that of trial 4 hung: both were tried again.
    assert "3/2" in begun
    assert "4/2" in begun
    killed = f"requeued: the driver exited without finishing (job search-{search}-1 is failed)"
    assert killed in [event.message for event in client.search_events(search)]
    front = client.pareto(search).front
    assert {point.evaluation.latency_s for point in front} == {0.003}  # timed after the last trial


def test_log_of_a_trial_that_was_tried_again_is_read_over_http(
    client: Client, accidents: SearchDetails
) -> None:
    first = [line.message for line in client.trial_log(accidents.id, "3", attempt=1)]
    second = [line.message for line in client.trial_log(accidents.id, "3")]

    assert first[0] == f"search {accidents.id} trial 3: attempt 1"
    assert second[0] == f"search {accidents.id} trial 3: attempt 2"
    assert "train, epoch 1 of 1: loss 1" in second
    assert second[-1].startswith(f"search {accidents.id} trial 3: succeeded")


@pytest.mark.usefixtures("accidents")
def test_metrics_count_what_drivers_did(service: Service) -> None:
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    assert float(found['searchd_trials_ended_total{outcome="succeeded"}']) >= 7
    assert float(found['searchd_work_requeues_total{kind="search"}']) >= 1
    assert float(found['searchd_leases_granted_total{kind="search"}']) >= 2
    assert float(found['searchd_trial_seconds_count{outcome="succeeded"}']) >= 7
    assert float(found["searchd_coordinator_last_round_timestamp_seconds"]) > 0


def test_a_sink_has_every_trial_also_those_of_a_driver_that_was_killed(
    service: Service, accidents: SearchDetails
) -> None:
    folder = service.data_folder / "sinks" / "tensorboard" / f"{ACCIDENTS}-{accidents.id}"
    names = ["base", "0", "1", "2", "3", "4", "5"]

    def has_all() -> bool:
        return all(list((folder / name).glob("events.out.tfevents.*")) for name in names)

    wait_until(has_all)


def test_webhook_is_told_of_new_incumbents_and_of_the_end(
    told: Told, accidents: SearchDetails
) -> None:
    def types() -> list[str]:
        return [message["type"] for message in told.receiver.verified(told.secret)]

    wait_until(lambda: "search.ended" in types())
    assert {"dataset.ended", "pool.ended", "search.incumbent"} < set(types())
    messages = told.receiver.verified(told.secret)
    end = next(message for message in messages if message["type"] == "search.ended")
    assert (end["data"]["id"], end["data"]["reason"]) == (accidents.id, "budget: 6 trials")


def test_report_of_a_killed_driver_is_recorded_and_no_teacher_is_evaluated_twice(
    service: Service, client: Client
) -> None:
    split = SplitSpec(annotations=Path("/data/train.json"), images=Path("/data"))
    with contextlib.suppress(ApiError):  # the search with accidents may have added it
        client.create_dataset(DatasetSpec(name=ACCIDENTS, train=split, validation=split))
    mmdet = MmdetSpec(config="ssd300_coco", checkpoint=Path("/data/ssd.pth"))
    spec = TeacherSpec(name="ssd", dataset=ACCIDENTS, mmdet=mmdet)

    teacher = client.wait_for_teacher(client.create_teacher(spec).id, poll_s=0.2)

    assert (teacher.status, teacher.measurement and teacher.measurement.ap) == (
        TeacherStatus.READY,
        0.4,
    )
    killed = f"the driver exited without finishing (job teacher-{teacher.id}-1 is failed)"
    messages = [event.message for event in client.teacher_events("ssd")]
    assert [message for message in messages if killed in message] != []
    folder = artifact_root(service) / "teachers" / teacher.id
    assert [attempt.name for attempt in folder.iterdir()] == ["attempt-1"]


def test_killed_driver_is_replaced_within_seconds(
    service: Service, client: Client, endless: str
) -> None:
    wait_until(lambda: client.get_search(endless).status is SearchStatus.PREPARING)
    (first,) = drivers(service, endless)

    first.kill()

    # About 6 s on two idle cores; more while other tests share them.
    took_s = wait_until(lambda: [p for p in drivers(service, endless) if p != first] != [])
    assert took_s < 30


def test_dashboard_shows_searches_to_who_has_the_token_and_no_secret_to_anybody(
    service: Service, client: Client, endless: str
) -> None:
    wait_until(lambda: client.get_search(endless).status is not SearchStatus.QUEUED)
    token = service.token_file.read_text()
    assert stat.S_IMODE(service.token_file.stat().st_mode) == 0o600
    assert service.url in service.describe()
    assert str(service.token_file) in service.describe()
    jobs_url = f"{service.dashboard_url}/api/jobs/"
    assert httpx.get(jobs_url).status_code == 401

    jobs = httpx.get(jobs_url, headers={"Authorization": f"Bearer {token}"})

    shown = {"search": endless, "name": ENDLESS, "job_name": f"search {ENDLESS}"}
    assert shown in [job["metadata"] for job in jobs.json()]
    assert token not in jobs.text
    assert service.settings.database not in jobs.text


def test_cancelled_search_stops_its_trials_and_ends(
    service: Service, client: Client, endless: str
) -> None:
    wait_until(lambda: _status(client, endless, "base") is TrialStatus.RUNNING)

    client.ask_of_search(endless, "cancel")

    ended = client.wait_for_search(endless, poll_s=0.5)
    assert (ended.status, ended.status_reason) == (
        SearchStatus.CANCELLED,
        "cancelled by a user",
    )
    assert _status(client, endless, "base") is TrialStatus.CANCELLED
    wait_until(lambda: drivers(service, endless) == [])


def test_ray_jobs_keep_the_ports_promises(service: Service) -> None:
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": service.token_file.read_text(),
    }
    story = [sys.executable, "-m", "tests.cli.jobs_scenario", service.dashboard_url]

    reported = subprocess.run(
        story, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )

    assert reported.returncode == 0, reported.stderr


def test_killed_coordinator_and_api_are_started_again(service: Service, client: Client) -> None:
    assert service.check() == []
    for process in marked(MARK, str(service.data_folder)):
        if process.cmdline()[1:] in (["-m", "api"], ["-m", "searchd.coordinator"]):
            process.kill()
    restarted: set[str] = set()

    def all_restarted() -> bool:
        restarted.update(service.check())
        return restarted == {"api", "coordinator"}

    wait_until(all_restarted)
    wait_until(client.is_ready)


def test_no_process_inherits_the_token_of_whoever_started_the_service(service: Service) -> None:
    processes = marked(MARK, str(service.data_folder))
    assert len(processes) > 3
    assert [process for process in processes if "SEARCHD_TOKEN" in process.environ()] == []


def test_start_that_would_let_anybody_in_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCHD_API_HOST", "0.0.0.0")
    with pytest.raises(InvalidValueError, match="set SEARCHD_AUTH=on"):
        Service(tmp_path / "data", api_port=0).start()
    assert not (tmp_path / "data").exists()


def test_second_start_on_the_same_folder_is_refused(service: Service, client: Client) -> None:
    with pytest.raises(ConflictError, match=f"in use by another `searchd up` .*{os.getpid()}"):
        Service(service.data_folder).start()

    assert client.is_ready()


def test_start_that_was_killed_is_cleaned_up_by_the_next_and_other_rays_are_left_alone(
    service: Service, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "a folder with a long name" / ("x" * 60)
    killed = start(folder)
    killed.kill()
    killed.wait()
    assert marked(MARK, str(folder)) != []

    interrupted = start(folder)
    ours = marked(MARK, str(folder))
    interrupted.send_signal(signal.SIGINT)

    assert interrupted.wait(60) == 0
    assert marked(MARK, str(folder)) == []
    assert [process for process in ours if lives(process)] == []
    assert client.is_ready()
    headers = {"Authorization": f"Bearer {service.token_file.read_text()}"}
    assert httpx.get(f"{service.dashboard_url}/api/version", headers=headers).is_success


def start(folder: Path) -> "subprocess.Popen[str]":
    """`searchd up`, ready."""
    command = [sys.executable, "-m", "cli.main", "up", f"--data-folder={folder}"]
    process = subprocess.Popen(
        [*command, "--port=0", "--cpus=1"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    process.stdout.close()
    assert line.startswith("searchd is ready: http://127.0.0.1:")
    return process


def _status(client: Client, search: str, name: str) -> TrialStatus | None:
    return next((t.status for t in client.trials(search) if t.name == name), None)
