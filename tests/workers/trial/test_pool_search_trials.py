"""Searches of a pool itself: its subnets as detectors, and as the base of another search."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from detection.build import load_student
from detection.data.coco import CocoSplit
from detection.export import export
from detection.measurement.complexity import count
from detection.measurement.evaluation import evaluate
from detection.measurement.workload import workload_of
from detection.stored_weights import read_student
from elastic_pool.supernet import Supernet, extract
from searchd.domain.actions import PruneChannels
from searchd.domain.trial import FinalSplit, Outcome, TakeSubnet
from searchd.driver import final_splits
from searchd.search.ask_tell import Finished
from searchd.settings import Settings
from searchd.spec import BaseSpec, BudgetSpec, DatasetSpec, HeadSpec
from searchd.spec.codecs import DETECTOR
from searchd.store import Database
from searchd.store.models import EvaluationRow
from searchd.store.runs import split_evaluations, trials
from tests.searchd.store import device_factory
from tests.workers.trial.runs import InThisProcess, Search, macs, stored
from tests.workers.trial.tasks import SIZE, weights

pytestmark = pytest.mark.timeout(60)  # real detectors are trained


@pytest.fixture(scope="module")
def pool_search(search: Callable[..., Search]) -> Search:
    return search(strategy={"kind": "pool_search"}, budget=BudgetSpec(max_trials=3))


def test_pool_search_evaluates_subnets_and_trains_none(
    pool_search: Search, supernet: Supernet
) -> None:
    done = pool_search
    assert list(done.reports) == ["base", "0", "1", "2"]
    for name in ("0", "1", "2"):
        report, change = done.reports[name], done.proposals[name].change
        assert report.outcome is Outcome.SUCCEEDED, report.reason
        assert isinstance(change, TakeSubnet)
        assert report.epochs == ()
        detector = supernet.static(change.subnet)
        assert report.detector == detector
        assert report.base_macs == count(detector, SIZE).macs
        assert {a.name for a in report.artifacts} == {"detector", "predictions", "student"}
    assert done.finished == Finished("budget: 3 trials", succeeded=True)


def test_subnets_are_compared_by_few_images_and_the_front_is_measured_on_all(
    search: Callable[..., Search],
    database: Database,
    dataset: DatasetSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strategy = {"kind": "pool_search", "num_images": 4}
    done = search(strategy=strategy, budget=BudgetSpec(max_trials=2))
    split = CocoSplit(dataset.validation)
    for name in ("0", "1"):
        (found,) = done.reports[name].evaluations
        model = load_student(read_student(*stored(done.reports[name])))
        assert found.ap == pytest.approx(evaluate(model, split.spaced(4), SIZE).ap)

    monkeypatch.setattr(final_splits, "_measure", InThisProcess())
    monkeypatch.setattr(final_splits, "ray", InThisProcess())
    final_splits.measure_on_splits(done.ledger, Settings(data_folder=tmp_path), threading.Event())

    with database.read() as session:
        measured = split_evaluations.measured(session, done.ledger.run_id, FinalSplit.VALIDATION)
        front = {session.get_one(EvaluationRow, each).trial_id for each in measured}
    assert front - {trials.trial_id(done.ledger.run_id, "base")}
    assert {row.num_images for row in measured.values()} == {6}


def test_the_cost_of_a_subnet_is_what_the_table_of_a_device_predicts(
    database: Database, search: Callable[..., Search]
) -> None:
    device_factory.add_device(database)
    score = {"cost": "latency", "device": "laptop", "base_resolution": str(SIZE)}
    done = search(strategy={"kind": "pool_search"}, budget=BudgetSpec(max_trials=3), score=score)

    table = device_factory.device_report().table
    for name in ("0", "1", "2"):
        report = done.reports[name]
        assert report.detector is not None
        predicted = table.seconds(workload_of(report.detector, SIZE))
        assert report.scored_cost == predicted
        assert [each.cost for each in report.evaluations] == [predicted]
    assert len({done.reports[name].scored_cost for name in ("0", "1", "2")}) > 1


def test_a_subnet_that_was_found_is_the_base_of_a_search_by_its_export(
    pool_search: Search, search: Callable[..., Search], dataset: DatasetSpec, tmp_path: Path
) -> None:
    found = pool_search.reports["1"]
    student = read_student(*stored(found))
    names = CocoSplit(dataset.train).class_names
    export(student, tmp_path, class_names=names, resolution=SIZE)
    described = {"detector": DETECTOR.dump_python(student.detector, mode="json"), "score": 0.3}
    (tmp_path / "detector.json").write_text(json.dumps(described))

    done = search(
        base=BaseSpec(export=tmp_path),
        head=HeadSpec.of(student.detector),
        strategy={"actions": ["prune_channels"], "prune_fraction": 0.2, "min_channels": 2}
        | {"student_frozen_trials": 0, "student_probability": 1.0},
        budget=BudgetSpec(max_trials=2, finish=None),
    )

    base, first, pruned = (done.reports[name] for name in ("base", "0", "1"))
    assert base.epochs == ()  # it is evaluated as it is
    assert base.detector == first.detector == student.detector
    assert base.evaluations[0].ap == pytest.approx(found.evaluations[0].ap)
    assert isinstance(done.proposals["1"].change, PruneChannels)
    assert pruned.outcome is Outcome.SUCCEEDED, pruned.reason
    assert macs(pruned) < macs(base)


def test_a_taken_subnet_has_the_supernets_weights_and_bn_statistics_of_its_own(
    pool_search: Search, supernet: Supernet
) -> None:
    change = pool_search.proposals["1"].change
    assert isinstance(change, TakeSubnet)
    cut = extract(supernet, change.subnet)
    stored, shared = weights(pool_search.reports["1"]), cut.weights
    load_student(replace(cut, weights=stored))
    differing = {name for name, value in shared.items() if not value.equal(stored[name])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert differing == {name for name in shared if name.endswith(statistics)}
