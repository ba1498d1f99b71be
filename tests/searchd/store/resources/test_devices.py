"""Devices in the store: measured once, then named by searches."""

from searchd.domain.errors import ConflictError, InvalidValueError, NotFoundError
from searchd.domain.lifecycle import DeviceStatus
from searchd.spec import HeadSpec, MethodsSpec, ScoreSpec
from searchd.store import Database, paging
from searchd.store.models import DeviceRow
from searchd.store.resources import devices, distillations, searches
from searchd.store.work import queue
from tests.searchd.store.device_factory import add_device, device_report, device_spec
from tests.searchd.store.factories import (
    add_search,
    base_proposal,
    distillation_spec,
    leased,
    refused,
    run_trial,
    search_spec,
    start_search,
)

ON_LAPTOP = ScoreSpec.model_validate({"cost": "latency", "device": "laptop"})


def test_a_measured_device_tells_how_far_its_predictions_are_off(database: Database) -> None:
    device_id = add_device(database, num_measured=9, num_noisy=4)

    with database.read() as session:
        row = devices.get(session, "laptop")
        assert (row.id, row.status) == (device_id, DeviceStatus.READY)
        assert row.status_reason == (
            "predictions are 3.0 % off (median of 1, largest 3.0 %); the machine was never quiet "
            "in 4 of 9 measurements"
        )
        assert row.report == device_report(num_measured=9, num_noisy=4)
        assert [each.name for each in paging.page(session, DeviceRow).items] == ["laptop"]


def test_a_search_may_count_the_latency_of_a_measured_device(database: Database) -> None:
    add_search(database)
    add_device(database)
    with database.write() as session:
        row = searches.create(session, search_spec("fast", score=ON_LAPTOP))
        assert row.spec.score.device == "laptop"


def test_a_search_by_latency_needs_a_device_that_exists(database: Database) -> None:
    add_search(database)
    unknown = search_spec("fast", score=ON_LAPTOP)
    with refused(database, InvalidValueError, "register it first: searchd device add laptop") as s:
        searches.create(s, unknown)

    add_device(database, "laptop-2")
    with refused(database, InvalidValueError, "does not exist; did you mean laptop-2") as session:
        searches.create(session, unknown)


def test_a_search_by_latency_needs_a_device_with_a_table(database: Database) -> None:
    add_search(database)
    with database.write() as session:
        device_id = devices.create(session, device_spec()).id

    spec = search_spec("fast", score=ON_LAPTOP)
    with refused(database, ConflictError, "is measuring and has no lookup table") as session:
        searches.create(session, spec)
    with leased(database, f"device-{device_id}") as (session, lease):
        queue.finish(session, lease, DeviceStatus.FAILED, "no node offers laptop")
    with refused(database, ConflictError, "failed and has no .*no node.*add it again") as session:
        searches.create(session, spec)


def test_a_table_predicts_the_families_that_it_was_measured_with(database: Database) -> None:
    add_search(database)
    add_device(database)
    methods = MethodsSpec.model_validate({"methods": [{"name": "feature_matching"}]})
    head = HeadSpec.model_validate({"family": "fcos"})
    spec = search_spec("fast", score=ON_LAPTOP, head=head, distillation=methods)
    with refused(
        database, InvalidValueError, "measured with detectors of faster_rcnn, not of fcos"
    ) as session:
        searches.create(session, spec)


def test_a_device_that_is_used_is_not_deleted(database: Database) -> None:
    add_search(database)
    add_device(database)
    with database.write() as session:
        searches.create(session, search_spec("fast", score=ON_LAPTOP))

    with refused(database, ConflictError, "laptop is used by search 'fast'") as session:
        devices.delete(session, devices.get(session, "laptop"))


def test_an_unused_device_is_deleted_once_it_was_measured(database: Database) -> None:
    with database.write() as session:
        devices.create(session, device_spec("slow"))
    with refused(database, ConflictError, "slow is measuring") as session:
        devices.delete(session, devices.get(session, "slow"))

    add_device(database)
    with database.write() as session:
        devices.delete(session, devices.get(session, "laptop"))
    with refused(database, NotFoundError, "'laptop' does not exist") as session:
        devices.get(session, "laptop")


def test_a_student_keeps_the_cost_that_its_search_counted(database: Database) -> None:
    _, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal()).id
    add_device(database)
    spec = distillation_spec(student={"trial": trial}, score=ON_LAPTOP)
    with refused(
        database, InvalidValueError, f"trial {trial} was scored by macs; give the same"
    ) as session:
        distillations.create(session, spec)
