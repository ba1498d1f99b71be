"""The fast half of the fault matrix: processes of the service are killed during a search."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from searchd.spec import DatasetSpec, SplitSpec
from tests.chaos import workers
from tests.chaos.recovery import recovered
from tests.chaos.site import Site, kill, running_site, send

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("chaos")) as site:
        site.add_teachers()
        yield site


def test_killed_workers_are_replaced_and_their_trials_resume_from_undamaged_checkpoints(
    site: Site,
) -> None:
    search = site.submit_busy("killed-workers")
    before, (intact, damaged) = site.finished(search), site.running(search)

    kill([psutil.Process(intact.pid), psutil.Process(damaged.pid)])
    folder = site.artifacts / "searches" / search / damaged.name / "attempt-1"
    (folder / "resume.json").write_text('{"slice"')
    site.release(search)

    took_s = site.wait_until(lambda: site.is_running(search, intact.name, 2))
    recovered("SIGKILL of two workers", "a trial runs again", took_s, bound_s=10)
    site.check_end(search, before)
    again = {a.name: a.first_slice for a in site.attempts(search) if a.number == 2}
    assert again[intact.name] > 0
    assert again[damaged.name] == 0


def test_killed_driver_is_replaced_and_the_search_resumes(site: Site) -> None:
    search = site.submit_busy("killed-driver")
    before, (driver,) = site.finished(search), site.drivers(search)
    known = site.attempts(search)

    driver.kill()
    site.release(search)

    took_s = site.wait_until(lambda: site.has_new_driver(search, driver.pid))
    recovered("SIGKILL of the driver", "another one runs", took_s, bound_s=10)
    took_s += site.wait_until(lambda: site.new_attempt(search, known))
    recovered("SIGKILL of the driver", "trials run again", took_s, bound_s=20)
    site.check_end(search, before)


def test_killed_coordinator_and_api_are_replaced_while_the_search_runs(site: Site) -> None:
    search = site.submit_busy("killed-api")
    before = site.finished(search)
    api, coordinator = site.module("api"), site.module("searchd.coordinator")
    assert api is not None
    assert coordinator is not None

    kill([api, coordinator])
    site.release(search)

    took_s = site.wait_until(site.client.is_ready)
    recovered("SIGKILL of the API", "it answers again", took_s, bound_s=10)
    split = SplitSpec(annotations=Path("/data/train.json"), images=Path("/data"))
    added = site.client.create_dataset(DatasetSpec(name="new", train=split, validation=split)).id
    took_s += site.wait_until(lambda: site.lease(added) > 0)
    recovered("SIGKILL of the coordinator", "new work is leased", took_s, bound_s=10)
    site.check_end(search, before)
    assert site.lease(search) == 1


def test_two_coordinators_at_once_start_each_driver_once(site: Site) -> None:
    with site.another("searchd.coordinator") as second:
        search = site.submit_busy("two-coordinators")
        site.release(search)
        site.check_end(search, [])
        assert second.poll() is None

    assert site.lease(search) == 1


@pytest.mark.chaos
def test_changes_of_the_wall_clock_disturb_nothing(site: Site) -> None:
    first = site.module("searchd.coordinator")
    assert first is not None
    ahead = site.notes / "seconds-ahead"
    ahead.write_text("0")
    with _frozen(first), site.another("tests.chaos.stepped_coordinator", str(ahead)):
        search = site.submit_busy("stepped-clock")
        before, (driver,) = site.finished(search), site.drivers(search)

        ahead.write_text("3600")
        time.sleep(5)
        assert site.lease(search) == 1
        driver.kill()
        site.wait_until(lambda: site.is_requeued(search))
        ahead.write_text("-3600")
        site.release(search)

        took_s = site.wait_until(lambda: site.has_new_driver(search, driver.pid))
        recovered(
            "SIGKILL of the driver, then the clock put back by two hours",
            "another one runs",
            took_s,
            bound_s=10,
        )
        site.check_end(search, before)


def test_late_report_of_a_trial_that_was_given_to_another_worker_changes_nothing(
    site: Site,
) -> None:
    search = site.submit("late-report")
    workers.cut_off(site.notes, search)
    site.wait_until(lambda: len(site.reported_late(search)) == 1)
    ((name, number),) = site.reported_late(search)

    site.check_end(search, [], late={(name, number)})

    (trial,) = [trial for trial in site.finished(search) if trial.name == name]
    assert (number, trial.attempt) == (1, 2)
    assert trial.params != workers.LATE_PARAMS


@contextlib.contextmanager
def _frozen(process: psutil.Process) -> Iterator[None]:
    send([process], signal.SIGSTOP)
    try:
        yield
    finally:
        send([process], signal.SIGCONT)
