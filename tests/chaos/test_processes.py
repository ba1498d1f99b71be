"""The quick half of the fault matrix: processes of the service are killed in mid-search."""

from collections.abc import Iterator

import psutil
import pytest

from tests.chaos.recovery import recovered
from tests.chaos.site import Site, running_site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("chaos")) as site:
        site.add_teachers()
        yield site


def test_killed_worker_is_replaced_and_its_trial_goes_on_from_its_checkpoint(site: Site) -> None:
    search = site.submit_busy("killed-worker")
    before, (victim, *_) = site.finished(search), site.running(search)

    psutil.Process(victim.pid).kill()

    took_s = site.wait_until(lambda: site.is_running(search, victim.name, victim.number + 1))
    recovered("SIGKILL of a worker", "its trial runs again", took_s, bound_s=10)
    site.check_end(search, before)
    (again,) = [a for a in site.attempts(search) if a.name == victim.name and a.number == 2]
    assert again.first_slice > 0


def test_killed_driver_is_replaced_and_goes_on_with_the_search(site: Site) -> None:
    search = site.submit_busy("killed-driver")
    before, (driver,) = site.finished(search), site.drivers(search)

    driver.kill()

    took_s = site.wait_until(lambda: site.has_new_driver(search, driver.pid))
    recovered("SIGKILL of the driver", "another one holds the lease", took_s, bound_s=10)
    site.check_end(search, before)
