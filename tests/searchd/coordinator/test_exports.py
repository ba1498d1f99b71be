"""When the coordinator has a detector exported."""

import pytest

from searchd.coordinator.jobs import Node
from searchd.coordinator.loop import Action, Coordinator
from searchd.domain.lifecycle import ExportStatus, SearchStatus
from searchd.spec import ExportSpec
from searchd.store import Database
from searchd.store.resources import exports
from searchd.store.work import queue
from tests.searchd.conftest import FakeClock
from tests.searchd.coordinator.scripted_jobs import ScriptedJobs
from tests.searchd.store import factories


@pytest.fixture
def coordinator(sqlite: Database, clock: FakeClock) -> Coordinator:
    return Coordinator(
        sqlite,
        ScriptedJobs(Node(cpus=2, gpus=0)),
        lease_s=60,
        max_running_searches=1,
        max_attempts=3,
        clock=clock,
        monotonic=clock.watch,
    )


def requested(database: Database, spec: ExportSpec) -> tuple[str, str]:
    """The ids of a trial of an ended search and of its export."""
    _, lease = factories.start_search(database)
    trial = factories.run_trial(database, lease, factories.base_proposal()).id
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
        return trial, exports.create(session, trial, spec).id


def test_an_export_is_started(sqlite: Database, coordinator: Coordinator) -> None:
    _, export = requested(sqlite, ExportSpec())

    event = coordinator.step()[-1]

    assert (event.action, event.work_id) == (Action.STARTED, f"export-{export}")


def test_an_export_that_no_node_can_run_fails_at_once(
    sqlite: Database, coordinator: Coordinator
) -> None:
    trial, export = requested(sqlite, ExportSpec(cpus=4))

    coordinator.step()

    with sqlite.read() as session:
        row = exports.get(session, trial, export)
    assert row.status is ExportStatus.FAILED
    assert row.status_reason.startswith("unschedulable: each export needs 4 CPUs and 0 GPUs")
