"""Nodes that are taken away all the time, as spot machines are: from none to eight and back.

A node is killed every minute, and another one takes its place, for SEARCHD_SPOT_MINUTES (3). Eight
nodes on one machine need about 6 GB of memory.
"""

import logging
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.domain.transitions import is_final
from searchd.spec import BudgetSpec, ResourcesSpec, SearchSpec
from tests.chaos import workers
from tests.chaos.site import Site, family, kill, running_site

log = logging.getLogger(__name__)
MINUTES = float(os.environ.get("SEARCHD_SPOT_MINUTES", "3"))
pytestmark = [
    pytest.mark.chaos,
    pytest.mark.e2e,
    pytest.mark.timeout(600 + int(180 * MINUTES)),
]
NUM_NODES, CPUS = 8, 2
KILL_EVERY_S, SECONDS_PER_ROUND = 60.0, 2.0
TRIALS_PER_MINUTE = 20
ENVIRONMENT = {
    "CHAOS_SLICE_S": "1",
    "SEARCHD_CLUSTER_NODES": f'[{{"count": {NUM_NODES}, "cpus": {CPUS}, "gpus": 0}}]',
}


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service whose head holds no trial: that needs two CPUs, which only further nodes have."""
    folder = tmp_path_factory.mktemp("spot")
    with running_site(folder, cpus=1, environment=ENVIRONMENT) as site:
        site.add_teachers()
        yield site


def test_a_search_on_spot_nodes_loses_no_trial_and_one_checkpoint_of_each_at_most(
    site: Site,
) -> None:
    number = round(MINUTES * TRIALS_PER_MINUTE)
    spec = SearchSpec(
        name="spot",
        dataset="shapes",
        pool="shapes",
        budget=BudgetSpec(max_trials=number, patience=number, finish=None),
        resources=ResourcesSpec(trials_in_flight=NUM_NODES, cpus_per_trial=CPUS),
        control=False,
    )
    search = site.client.submit_search(spec).id
    site.wait_until(lambda: "node" in (site.client.get_search(search).status_reason or ""))

    with ExitStack() as stack:
        killed = _run_on_spot_nodes(site, search, stack)

    assert killed >= MINUTES / 2
    ended = site.client.get_search(search)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    finished = site.finished(search)
    assert {trial.status for trial in finished} == {TrialStatus.SUCCEEDED}
    assert len(finished) == number + 1
    lost = _lost(site, search)
    assert max(lost, default=0) <= 1
    log.info(
        "%d nodes killed, %d attempts resumed, %d checkpoints lost", killed, len(lost), sum(lost)
    )
    site.wait_until(lambda: site.leftovers(search) == [])


def _run_on_spot_nodes(site: Site, search: str, stack: ExitStack) -> int:
    """Keep eight nodes until the search ends, kill one of them every minute, and return how many
    were killed while it ran."""
    nodes: list[subprocess.Popen[bytes]] = []
    killed, next_kill = 0, time.monotonic() + KILL_EVERY_S
    while not is_final(site.client.get_search(search).status):
        nodes = [
            node for node in nodes if node.poll() is None
        ]  # a busy machine starts some in vain
        if len(nodes) < NUM_NODES:
            nodes.append(stack.enter_context(site.node(cpus=CPUS)))
        elif time.monotonic() >= next_kill:
            kill(family(nodes.pop(0).pid))
            killed, next_kill = killed + 1, time.monotonic() + KILL_EVERY_S
        time.sleep(SECONDS_PER_ROUND)
    return killed


def _lost(site: Site, search: str) -> list[int]:
    """Return how many slices with a checkpoint each repeated attempt trained again."""
    done: dict[tuple[str, int], int] = {}
    for each in workers.slices(site.notes, search):
        done[each.name, each.attempt] = each.number + 1
    return [
        done[attempt.name, attempt.number - 1] - attempt.first_slice
        for attempt in site.attempts(search)
        if (attempt.name, attempt.number - 1) in done
    ]
