"""The fault matrix for Ray's nodes: a node is killed or frozen, or the head is killed."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.chaos.recovery import recovered
from tests.chaos.site import LEASE_S, Site, family, kill, running_site, send
from tests.chaos.workers import Attempt

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(600)]

HEAD_S = LEASE_S + 40
"""A new head knows no jobs of the old one, so a lost driver is noticed when its lease expires."""
HEALTH_CHECKS_S = 40.0
"""Largest number of seconds that Ray needs to notice an unresponsive node; see
cli/local_service.py."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service with one CPU on the head. A test adds a node with another one."""
    with running_site(tmp_path_factory.mktemp("chaos"), cpus=1) as site:
        site.add_teachers()
        yield site


def test_trials_of_a_killed_node_resume_on_another_node(site: Site) -> None:
    with site.node(cpus=1) as node:
        search = site.submit_busy("killed-node")
        before, lost = site.finished(search), _trial_on(site, search, node)

        kill(family(node.pid))
        site.release(search)

        took_s = site.wait_until(lambda: site.is_running(search, lost.name, lost.number + 1))
        recovered("SIGKILL of a node", "its trial runs elsewhere", took_s, bound_s=HEALTH_CHECKS_S)
        site.check_end(search, before)


def test_trials_of_a_frozen_node_resume_on_another_node_and_its_late_report_changes_nothing(
    site: Site,
) -> None:
    with site.node(cpus=1) as node:
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


def test_search_resumes_after_the_ray_head_was_killed(site: Site) -> None:
    with site.node(cpus=1):
        search = site.submit_busy("killed-head")
        before, known = site.finished(search), site.attempts(search)
        head = site.ray_head()
        assert head is not None

        kill(family(head.pid))
        site.release(search)

        took_s = site.wait_until(lambda: site.new_attempt(search, known))
        recovered("SIGKILL of the Ray head", "trials run again", took_s, bound_s=HEAD_S)
        site.check_end(search, before)


def test_search_resumes_after_only_the_gcs_of_ray_was_killed(site: Site) -> None:
    with site.node(cpus=1):
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


def _trial_on(site: Site, search: str, node: "subprocess.Popen[bytes]") -> Attempt:
    """Return the attempt that a worker of the node runs."""
    pids = {process.pid for process in family(node.pid)}
    (found,) = [attempt for attempt in site.running(search) if attempt.pid in pids]
    return found
