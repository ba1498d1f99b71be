"""The fault matrix where Ray loses nodes: killed, frozen, and the head itself."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chaos.recovery import recovered
from tests.chaos.site import LEASE_S, Site, family, kill, running_site, send
from tests.chaos.workers import Attempt

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(600)]

HEAD_S = LEASE_S + 40
"""Ray forgets its jobs with its head, so a driver is missed when its lease has run out."""
HEALTH_CHECKS_S = 40.0
"""That Ray needs at most to notice a node that does not answer; see cli/local_service.py."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One CPU on the head; the other is on a node that a test adds."""
    with running_site(tmp_path_factory.mktemp("chaos"), cpus=1) as site:
        site.add_teachers()
        yield site


def test_trials_of_a_killed_node_go_on_elsewhere(site: Site) -> None:
    with _node(site) as node:
        search = site.submit_busy("killed-node")
        before, lost = site.finished(search), _trial_on(site, search, node)

        kill(family(node.pid))
        site.release(search)

        took_s = site.wait_until(lambda: site.is_running(search, lost.name, lost.number + 1))
        recovered("SIGKILL of a node", "its trial runs elsewhere", took_s, bound_s=HEALTH_CHECKS_S)
        site.check_end(search, before)


def test_trials_of_a_frozen_node_go_on_elsewhere_and_its_late_report_changes_nothing(
    site: Site,
) -> None:
    with _node(site) as node:
        search = site.submit_busy("frozen-node")
        before, lost = site.finished(search), _trial_on(site, search, node)
        frozen = family(node.pid)

        send(frozen, signal.SIGSTOP)
        site.release(search)

        took_s = site.wait_until(lambda: site.is_running(search, lost.name, lost.number + 1))
        recovered("a node is frozen", "its trial runs elsewhere", took_s, bound_s=HEALTH_CHECKS_S)
        send(frozen, signal.SIGCONT)
        late = site.reported_late(search)
        site.check_end(search, before, late=late)


def test_search_goes_on_after_the_ray_head_was_killed(site: Site) -> None:
    with _node(site):
        search = site.submit_busy("killed-head")
        before, known = site.finished(search), site.attempts(search)
        head = site.ray_head()
        assert head is not None

        kill(family(head.pid))
        site.release(search)

        took_s = site.wait_until(lambda: site.new_attempt(search, known))
        recovered("SIGKILL of the Ray head", "trials run again", took_s, bound_s=HEAD_S)
        site.check_end(search, before)


def test_search_goes_on_after_rays_gcs_alone_was_killed(site: Site) -> None:
    with _node(site):
        search = site.submit_busy("killed-gcs")
        before, known = site.finished(search), site.attempts(search)
        head = site.ray_head()
        assert head is not None
        (gcs,) = [process for process in family(head.pid) if process.name() == "gcs_server"]

        gcs.kill()
        site.release(search)

        took_s = site.wait_until(lambda: site.new_attempt(search, known))
        recovered("SIGKILL of Ray's GCS", "trials run again", took_s, bound_s=HEAD_S)
        site.check_end(search, before)


@contextmanager
def _node(site: Site) -> Iterator["subprocess.Popen[bytes]"]:
    """A second node on this machine, with room for one trial."""
    options = {
        "address": site.setting("RAY_ADDRESS"),
        "num-cpus": "1",
        "object-store-memory": str(2**27),
        "dashboard-agent-listen-port": "0",
        "min-worker-port": "0",
        "max-worker-port": "0",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with site.another("ray.scripts.scripts", "start", "--block", *arguments) as node:
        yield node


def _trial_on(site: Site, search: str, node: "subprocess.Popen[bytes]") -> Attempt:
    """The attempt that a worker of the node is at."""
    pids = {process.pid for process in family(node.pid)}
    (found,) = [attempt for attempt in site.running(search) if attempt.pid in pids]
    return found
