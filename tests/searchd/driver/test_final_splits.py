"""What is measured on the test split after a search, and what happens if that fails."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import RayError, WorkerCrashedError

from searchd.driver import final_splits
from searchd.driver.ledger import Ledger
from searchd.messages.tasks import SplitMeasurement, SplitTask
from searchd.settings import Settings
from searchd.spec import SplitSpec
from searchd.store import Database
from searchd.store.events import after
from searchd.store.models import FinalSplit
from searchd.store.runs import split_evaluations
from tests.fake_workers import measure_on_split
from tests.searchd.store import factories
from tests.searchd.store.distillation_factory import (
    choose_order,
    run_base,
    run_sweep,
    start_distillation,
)

TEST = SplitSpec(annotations=Path("/data/test.json"), images=Path("/data/test"))


class FakeRay:
    """Runs a task at once, in this process."""

    def __init__(self) -> None:
        self.tasks: list[SplitTask] = []
        self.cancelled = 0
        self.error: RayError | None = None
        self.asks_to_stop: threading.Event | None = None

    def options(self, *, num_cpus: float, num_gpus: float) -> "FakeRay":
        assert (num_cpus, num_gpus) == (1.0, 0.0)
        return self

    def remote(self, path: str, task: SplitTask) -> list[SplitMeasurement]:
        assert path == "workers.comparison.splits:measure_on_split"
        self.tasks.append(task)
        return measure_on_split(task)

    def wait(
        self, references: list[object], *, timeout: float
    ) -> tuple[list[object], list[object]]:
        assert timeout > 0
        if self.asks_to_stop is None:
            return references, []
        self.asks_to_stop.set()
        return [], references

    def get(self, found: list[SplitMeasurement]) -> list[SplitMeasurement]:
        if self.error is not None:
            raise self.error
        return found

    def cancel(self, _reference: object, *, force: bool) -> None:
        assert force
        self.cancelled += 1


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    names = SimpleNamespace(wait=fake.wait, get=fake.get, cancel=fake.cancel)
    monkeypatch.setattr(final_splits, "ray", names)
    monkeypatch.setattr(final_splits, "_measure", fake)
    return fake


@pytest.fixture
def searched(ledger: Ledger) -> Ledger:
    """A search whose best trial is on the front, with a test split."""
    ledger.dataset = ledger.dataset.model_copy(update={"test": TEST})
    proposals = {
        "base": factories.base_proposal(),
        "0": factories.search_proposal(0),
        "control-1": factories.control_proposal(1),
    }
    for name, ap in (("base", 0.4), ("0", 0.6), ("control-1", 0.5)):
        ledger.propose(proposals[name])
        ledger.start(ledger.task(proposals[name]))
        ledger.record(factories.succeeded(name, ap=ap))
    return ledger


def measure(ledger: Ledger, stopping: threading.Event | None = None) -> None:
    final_splits.measure_on_splits(ledger, Settings(), stopping or threading.Event())


def on(ledger: Ledger, split: FinalSplit) -> list[tuple[float, int, int]]:
    rows = ledger.read(split_evaluations.measured, ledger.run_id, split).values()
    return [(row.ap, row.num_images, len(row.resampled)) for row in rows]


def events_of(database: Database, ledger: Ledger) -> list[str]:
    with database.read() as session:
        return [event.message for event in after(session, ledger.run_id, 0)]


def test_the_front_and_what_is_compared_are_measured_on_both_splits(
    searched: Ledger, ray: FakeRay
) -> None:
    measure(searched)

    test, validation = ray.tasks
    assert test.split == TEST
    assert validation.split == searched.dataset.validation
    measured = {(each.trial, str(each.resolution)) for each in test.detectors}
    assert measured == {
        ("base", "96x96"),
        ("0", "64x64"),  # on the front
        ("0", "96x96"),
        ("control-1", "96x96"),
    }
    assert on(searched, FinalSplit.TEST) == [(0.5, 8, 1000)] * 4
    assert on(searched, FinalSplit.VALIDATION) == [(0.5, 8, 1000)] * 4


def test_nothing_is_measured_a_second_time(searched: Ledger, ray: FakeRay) -> None:
    measure(searched)
    measure(searched)

    assert len(ray.tasks) == 2


def test_without_a_test_split_only_validation_is_measured(searched: Ledger, ray: FakeRay) -> None:
    searched.dataset = searched.dataset.model_copy(update={"test": None})

    measure(searched)

    assert [task.split for task in ray.tasks] == [searched.dataset.validation]
    assert on(searched, FinalSplit.TEST) == []


def test_a_failure_becomes_an_event_and_the_other_split_is_measured(
    searched: Ledger, sqlite: Database, ray: FakeRay
) -> None:
    ray.error = WorkerCrashedError()

    measure(searched)

    assert len(ray.tasks) == 2
    said = [text for text in events_of(sqlite, searched) if "could not be measured" in text]
    assert [text.partition(":")[0] for text in said] == [
        "detectors could not be measured on the test split",
        "detectors could not be measured on the validation split",
    ]
    assert "worker" in said[0]


def test_a_request_to_stop_ends_the_measurement(searched: Ledger, ray: FakeRay) -> None:
    ray.asks_to_stop = threading.Event()

    measure(searched, ray.asks_to_stop)

    assert (len(ray.tasks), ray.cancelled) == (1, 1)
    assert on(searched, FinalSplit.TEST) == []


def test_the_values_of_a_sweep_are_measured_at_the_largest_resolution(
    sqlite: Database, ray: FakeRay
) -> None:
    factories.add_dataset(sqlite)
    factories.add_pool(sqlite)
    _, lease = run_sweep(sqlite)
    ledger = Ledger(sqlite, lease, Settings())

    measure(ledger)

    (task,) = ray.tasks
    assert {(each.trial, str(each.resolution)) for each in task.detectors} == {
        ("0", "96x96"),
        ("1", "96x96"),
        ("control-1", "96x96"),
    }
    assert on(ledger, FinalSplit.VALIDATION) == [(0.5, 8, 1000)] * 3


def test_a_distillation_without_a_sweep_is_not_measured(sqlite: Database, ray: FakeRay) -> None:
    factories.add_dataset(sqlite)
    factories.add_pool(sqlite)
    row, lease = start_distillation(sqlite)
    choose_order(sqlite, lease, row)
    run_base(sqlite, lease)

    measure(Ledger(sqlite, lease, Settings()))

    assert ray.tasks == []
