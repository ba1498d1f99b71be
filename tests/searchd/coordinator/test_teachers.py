"""When the coordinator has a registered teacher evaluated."""

from typing import Any

import pytest

from searchd.coordinator.jobs import Node
from searchd.coordinator.loop import Action, Coordinator, CoordinatorEvent
from searchd.domain.detector import Family
from searchd.domain.lifecycle import DatasetStatus, PoolStatus, SearchStatus, TeacherStatus
from searchd.domain.trial import Outcome
from searchd.spec import TeacherSpec, TeachersSpec
from searchd.store import Database, paging
from searchd.store.models import TeacherRow
from searchd.store.resources import datasets, pools, searches, teachers
from searchd.store.work import queue, requests
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


def registered(database: Database, spec: TeacherSpec) -> TeacherRow:
    with database.write() as session:
        return teachers.create(session, spec)


def why(database: Database) -> tuple[TeacherStatus, str]:
    with database.read() as session:
        (row,) = paging.page(session, TeacherRow).items
        return row.status, row.status_reason


def test_teacher_is_started_once_its_data_set_is_ready(
    sqlite: Database, coordinator: Coordinator
) -> None:
    dataset = factories.add_dataset(sqlite, ready=False)
    teacher = registered(sqlite, factories.teacher_spec()).id

    assert coordinator.step()[1].action is Action.WAITS
    assert why(sqlite) == (TeacherStatus.CHECKING, "waits for data set shapes to be checked")

    with sqlite.write() as session:
        lease = queue.lease_of(queue.of_resource(session, dataset))
        datasets.record_ready(session, lease, {"class_names": ["a"]})
    assert coordinator.step()[-1] == CoordinatorEvent(
        Action.STARTED, f"teacher-{teacher}", f"job teacher-{teacher}-1"
    )


def test_teacher_of_masks_fails_once_its_data_set_turns_out_to_have_none(
    sqlite: Database, coordinator: Coordinator
) -> None:
    dataset = factories.add_dataset(sqlite, ready=False)
    train = {"backbone": "resnet18", "head": {"family": "mask_rcnn"}}
    registered(sqlite, factories.trained_teacher(train=train))
    splits = {"train": {"objects": 5, "masks": 0}, "validation": {"objects": 2, "masks": 0}}
    with factories.leased(sqlite, f"dataset_check-{dataset}") as (session, lease):
        summary = {"class_names": ["a"], "statistics": {"splits": splits}}
        datasets.record_ready(session, lease, summary)

    coordinator.step()

    status, reason = why(sqlite)
    assert status is TeacherStatus.FAILED
    assert "has no mask of 5 of the 5 objects of its train split" in reason


def test_subnet_waits_for_its_pool(sqlite: Database, coordinator: Coordinator) -> None:
    factories.add_dataset(sqlite)
    pool = factories.add_pool(sqlite, ready=False)
    registered(sqlite, factories.subnet_teacher())
    with factories.leased(sqlite, f"pool-{pool}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")

    coordinator.step()
    assert why(sqlite) == (TeacherStatus.CHECKING, "waits for pool teachers, which is training")

    with sqlite.write() as session:
        pools.record_report(session, lease, factories.pool_report(pool))
    assert coordinator.step()[-1].action is Action.STARTED


def test_subnet_fails_with_its_pool(sqlite: Database, coordinator: Coordinator) -> None:
    factories.add_dataset(sqlite)
    pool = factories.add_pool(sqlite, ready=False)
    registered(sqlite, factories.subnet_teacher())
    with factories.leased(sqlite, f"pool-{pool}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        failed = factories.pool_report(pool, Outcome.FAILED, "no memory")
        pools.record_report(session, lease, failed)

    assert coordinator.step()[-1].action is Action.GAVE_UP
    assert why(sqlite) == (TeacherStatus.FAILED, "pool teachers is failed: failed: no memory")


def test_teacher_fails_with_its_data_set(sqlite: Database, coordinator: Coordinator) -> None:
    dataset = factories.add_dataset(sqlite, ready=False)
    registered(sqlite, factories.teacher_spec())
    with factories.leased(sqlite, f"dataset_check-{dataset}") as (session, lease):
        queue.finish(session, lease, DatasetStatus.FAILED, "no images")

    coordinator.step()

    assert why(sqlite) == (
        TeacherStatus.FAILED,
        "data set shapes failed its check: no images",
    )


@pytest.mark.parametrize(
    ("resources", "needs"),
    [({"cpus": 4}, "4 CPUs and 0 GPUs"), ({"gpus": 1}, "1 CPUs and 1 GPUs")],
)
def test_teacher_that_no_node_can_ever_evaluate_fails_at_once(
    sqlite: Database, coordinator: Coordinator, resources: dict[str, Any], needs: str
) -> None:
    factories.add_dataset(sqlite)
    registered(sqlite, factories.teacher_spec(**resources))

    coordinator.step()

    status, reason = why(sqlite)
    assert status is TeacherStatus.FAILED
    assert reason == (
        f"unschedulable: each teacher needs {needs}, and the cluster has capacity for 0 of 1; "
        "its nodes have 2 CPUs and 0 GPUs"
    )


def test_teachers_are_evaluated_beside_the_most_searches(
    sqlite: Database, coordinator: Coordinator
) -> None:
    factories.add_search(sqlite)
    registered(sqlite, factories.teacher_spec())

    assert [event.action for event in coordinator.step()] == [Action.STARTED, Action.STARTED]


def test_a_search_waits_until_its_teacher_is_trained(
    sqlite: Database, coordinator: Coordinator
) -> None:
    factories.add_dataset(sqlite)
    teacher_id = factories.add_teacher(sqlite, ready=False)
    spec = TeachersSpec(registered=("strong",))
    with sqlite.write() as session:
        searches.create(session, factories.search_spec(pool=None, teachers=spec))

    training, waiting = coordinator.step()
    assert training == CoordinatorEvent(
        Action.STARTED, f"teacher_training-{teacher_id}", f"job teacher_training-{teacher_id}-1"
    )
    assert waiting.action is Action.WAITS
    with sqlite.write() as session:
        found = searches.get(session, "first")
        assert found.status_reason == "waits for teacher strong, which is queued"
        lease = queue.lease_of(queue.of_resource(session, teacher_id))
        queue.advance(session, lease, TeacherStatus.TRAINING, "started")
        teachers.record_report(session, lease, factories.teacher_report(Family.FASTER_RCNN))
    assert coordinator.step()[-1].action is Action.STARTED


def test_a_search_fails_once_its_teacher_turns_out_not_to_fit(
    sqlite: Database, coordinator: Coordinator
) -> None:
    """Only workers read a config of mmdet."""
    factories.add_dataset(sqlite)
    teacher = registered(sqlite, factories.teacher_spec())
    spec = TeachersSpec(registered=("swin",))
    with sqlite.write() as session:
        searches.create(session, factories.search_spec(pool=None, teachers=spec))
    with factories.leased(sqlite, f"teacher-{teacher.id}") as (session, lease):
        teachers.record_report(session, lease, factories.teacher_report(Family.RETINANET))

    coordinator.step()

    with sqlite.read() as session:
        found = searches.get(session, "first")
        assert found.status is SearchStatus.FAILED
        assert found.status_reason.startswith("teacher 'swin': proposal_feature needs a")


def test_a_search_fails_with_its_teacher(sqlite: Database, coordinator: Coordinator) -> None:
    factories.add_dataset(sqlite)
    teacher_id = factories.add_teacher(sqlite, ready=False)
    spec = TeachersSpec(registered=("strong",))
    with sqlite.write() as session:
        searches.create(session, factories.search_spec(pool=None, teachers=spec))
        requests.ask_to_cancel(session, teacher_id)

    assert coordinator.step()[-1].action is Action.GAVE_UP
    with sqlite.read() as session:
        reason = searches.get(session, "first").status_reason
    assert reason == "teacher strong is cancelled: cancelled by a user"
