"""One tiny search by each strategy, and a sweep: real detectors, real training, the ledger's
tasks."""

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.views.distillations import distillation
from detection.build import load_student
from detection.measurement.complexity import count
from elastic_pool.supernet import Supernet, extract
from searchd.domain.actions import PruneChannels
from searchd.domain.lifecycle import PoolStatus, SearchStatus
from searchd.domain.teacher import TeacherCandidates
from searchd.domain.trial import Outcome, Proposal, TakeSubnet, Train, TrialRole
from searchd.driver import final_splits
from searchd.driver.distillation_plan import make_plan, needs_plan
from searchd.driver.ledger import Ledger
from searchd.messages.reports import PoolReport, Report
from searchd.messages.tasks import PoolRef, SplitMeasurement, SplitTask, TrialTask
from searchd.search.ask_tell import Finished, Wait, decide, replay
from searchd.settings import Settings
from searchd.spec import (
    BaseSpec,
    BudgetSpec,
    DatasetSpec,
    DistillationSpec,
    ScoreSpec,
    SearchSpec,
    ShrinkPhaseSpec,
)
from searchd.store import Database, upgrade
from searchd.store.models import RunRow
from searchd.store.resources import datasets, distillations, pools, searches
from searchd.store.work import queue
from tests.searchd.store import factories
from tests.workers.trial.tasks import HEAD, ONE_EPOCH, SIZE, SPACE, weights
from workers.comparison.splits import measure_on_split
from workers.trial.context import TrialContext
from workers.trial.run import run_trial

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

TRAINING = ONE_EPOCH.model_copy(update={"learning_rate": 0.01})
PHASE = ShrinkPhaseSpec(
    name="supernet",
    min_depths=(2, 1, 1, 1),
    min_width=1.0,
    learning_rate=0.02,
    epochs=1,
    distil=False,
)


class Search:
    """A search or a distillation that is run trial by trial, in this process, as its driver would.

    Attributes:
        ledger: Of its driver.
        proposals, reports: Of its trials, by name.
        finished: How it ended.
    """

    def __init__(
        self, database: Database, folder: Path, spec: SearchSpec | DistillationSpec
    ) -> None:
        with database.write() as session:
            row: RunRow
            if isinstance(spec, SearchSpec):
                row = searches.create(session, spec)
            else:
                row = distillations.create(session, spec)
            work = queue.of_resource(session, row.id).id
        with factories.leased(database, work) as (session, lease):
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        self.ledger = ledger = Ledger(database, lease, Settings(data_folder=folder))
        context = TrialContext()
        self.proposals: dict[str, Proposal] = {}
        self.reports: dict[str, Report] = {}
        while not isinstance(decision := decide(ledger.strategy(), ledger.history), Finished):
            if isinstance(decision, Wait):
                assert needs_plan(ledger.strategy(), ledger.history)
                assert make_plan(ledger, Settings(data_folder=folder), threading.Event()) is None
                continue
            name = decision.name
            self.proposals[name] = decision
            ledger.propose(decision)
            task = ledger.task(decision)
            ledger.start(task)
            sent = TrialTask.model_validate_json(task.model_dump_json())
            self.reports[name] = run_trial(sent, context=context)
            completion = ledger.record(self.reports[name])
            assert completion is not None
        self.finished = decision
        stored = Ledger(database, lease, Settings(data_folder=folder)).history
        assert decide(ledger.strategy(), stored) == decision  # of the next driver
        proposals = list(stored.proposals)
        assert replay(ledger.strategy(), proposals, stored.completions) == proposals


@pytest.fixture(scope="module")
def database(
    dataset: DatasetSpec, pool: PoolRef, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """With the data set and a pool that are READY."""
    folder = tmp_path_factory.mktemp("database")
    url = f"sqlite:///{folder}/searchd.sqlite"
    upgrade(url)
    database = Database(url)
    with database.write() as session:
        data = datasets.create(session, dataset)
    with factories.leased(database, f"dataset_check-{data.id}") as (session, lease):
        datasets.record_ready(session, lease, {"class_names": ["a", "b", "c", "d"]})
    spec = factories.pool_spec(
        dataset=dataset.name, space=SPACE, head=HEAD, bn_reset_images=8, phases=(PHASE,)
    )
    with database.write() as session:
        row = pools.create(session, spec)
    report = PoolReport(pool=row.id, attempt=1, outcome=Outcome.SUCCEEDED, supernet=pool.supernet)
    with factories.leased(database, f"pool-{row.id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, report)
    yield database
    database.close()


@pytest.fixture(scope="module")
def search(
    database: Database, dataset: DatasetSpec, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Search]:
    """Runs a search, of which the strategy and more is given, to its end."""
    numbers = itertools.count()

    def run(**spec: Any) -> Search:
        values = {
            "name": f"s{next(numbers)}",
            "dataset": dataset.name,
            "pool": "teachers",
            "base": BaseSpec(backbone="resnet18", base_channels=8, training=TRAINING),
            "head": HEAD,
            "trial": TRAINING,
            "score": ScoreSpec(base_resolution=SIZE),
            "control": False,
        }
        folder = tmp_path_factory.mktemp("search")
        return Search(database, folder, SearchSpec.model_validate({**values, **spec}))

    return run


@pytest.fixture(scope="module")
def pool_search(search: Callable[..., Search]) -> Search:
    return search(strategy={"kind": "pool_search"}, budget=BudgetSpec(max_trials=3))


def macs(report: Report) -> float:
    assert report.base_macs is not None
    return report.base_macs


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


def test_random_search_edits_and_distils_like_joint_detnas(search: Callable[..., Search]) -> None:
    done = search(
        strategy={
            "kind": "random",
            "teacher_policy": "fixed",
            "actions": ["prune_channels"],
            "prune_fraction": 0.2,
            "min_channels": 2,
        },
        budget=BudgetSpec(max_trials=2),
    )

    assert done.proposals["1"].parent == "0"
    assert done.proposals["1"].change == PruneChannels(fraction=0.2, min_channels=2)
    assert done.reports["1"].outcome is Outcome.SUCCEEDED, done.reports["1"].reason
    assert "proposal_feature" in done.reports["1"].epochs[0].losses
    assert macs(done.reports["1"]) < macs(done.reports["0"])


def test_joint_detnas_distils_from_a_teacher_drawn_for_each_trial(
    search: Callable[..., Search],
) -> None:
    done = search(strategy={"teacher_policy": "random"}, budget=BudgetSpec(max_trials=3))

    trials = [done.proposals[name] for name in ("0", "1", "2")]
    assert {p.change for p in trials} == {Train()}  # the student is frozen for five trials
    assert len({p.teacher for p in trials}) > 1
    assert all(r.outcome is Outcome.SUCCEEDED for r in done.reports.values())


def test_an_edited_student_keeps_the_teacher_that_its_parents_worker_chose(
    search: Callable[..., Search],
) -> None:
    done = search(
        strategy={
            "kind": "random",
            "teacher_policy": "nearest",
            "nearest_candidates": 3,
            "student_frozen_trials": 1,
            "student_probability": 1.0,
            "actions": ["prune_channels"],
            "prune_fraction": 0.2,
            "min_channels": 2,
        },
        budget=BudgetSpec(max_trials=4),
    )

    taught_by = {
        name: report.chosen_teacher or done.proposals[name].teacher
        for name, report in done.reports.items()
    }
    candidates = done.proposals["1"].teacher
    assert isinstance(candidates, TeacherCandidates)
    assert len(candidates.candidates) == 3
    assert done.reports["1"].chosen_teacher in candidates.candidates
    edits = [done.proposals[name] for name in ("2", "3")]
    assert "1" in {edit.parent for edit in edits}
    for edit in edits:
        assert edit.teacher == taught_by[edit.parent or ""]


def test_pipeline_prunes_to_its_target_and_distils_the_student_further(
    search: Callable[..., Search],
) -> None:
    done = search(
        strategy={
            "kind": "pipeline",
            "macs_fraction": 0.8,
            "min_channels": 2,
            "further_trials": 1,
        },
        control=True,
    )

    base, pruned, further = (done.reports[name] for name in ("base", "0", "1"))
    assert pruned.outcome is Outcome.SUCCEEDED, pruned.reason
    assert macs(pruned) == pytest.approx(0.8 * macs(base), rel=0.02)
    assert further.detector == pruned.detector
    assert {a.name for a in further.artifacts} == {
        "detector",
        "predictions",
        "student",
        "adapters",
    }
    for report in (pruned, further):
        assert "proposal_feature" in report.epochs[0].losses
    controls = [p for p in done.proposals.values() if p.role is TrialRole.CONTROL]
    assert controls[0].parent == "base"


def test_pipeline_ends_at_once_when_its_target_is_out_of_reach(
    search: Callable[..., Search],
) -> None:
    done = search(strategy={"kind": "pipeline", "macs_fraction": 0.01, "min_channels": 2})

    assert done.reports["0"].outcome is Outcome.NO_OP
    assert "the nearest that pruning channels" in done.reports["0"].reason
    assert done.finished == Finished(
        "pipeline: trial 0 ended as no_op, but no trial succeeded", succeeded=False
    )


def test_values_of_a_sweep_are_trained_on_the_same_batches_and_measured(
    database: Database,
    dataset: DatasetSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = {"field": "distillation.methods.feature_matching.weight", "values": [50]}
    base = BaseSpec(backbone="resnet18", base_channels=8, training=TRAINING)
    spec = DistillationSpec.model_validate(
        {
            "name": "swept",
            "dataset": dataset.name,
            "pool": "teachers",
            "student": {"base": base, "head": HEAD},
            "num_sampled_teachers": 1,
            "order": ["largest"],
            "trial": TRAINING,
            "score": ScoreSpec(base_resolution=SIZE),
            "sweep": sweep,
        }
    )

    done = Search(database, tmp_path, spec)

    assert done.finished == Finished("progressive: 2 stages", succeeded=True)
    submitted, swept = (done.reports[name].checks.first_losses for name in ("0", "1"))
    assert submitted is not None
    assert swept is not None
    # The default weight is 5.
    assert swept["feature_matching"] == pytest.approx(10 * submitted["feature_matching"])
    others = submitted.keys() - {"feature_matching", "loss"}
    assert {name: swept[name] for name in others} == {name: submitted[name] for name in others}
    assert weights(done.reports["0"]).keys() == weights(done.reports["1"]).keys()

    monkeypatch.setattr(final_splits, "_measure", InThisProcess())
    monkeypatch.setattr(final_splits, "ray", InThisProcess())
    final_splits.measure_on_splits(done.ledger, Settings(data_folder=tmp_path), threading.Event())

    with database.read() as session:
        found = distillation(session, distillations.get(session, "swept")).sweep
    assert found is not None
    own, other = found.students
    assert (own.value, own.as_submitted, other.value) == (None, True, 50)
    for each in (own, other):
        assert each.validation is not None
        assert each.validation.ap == pytest.approx(each.ap)
        assert each.validation.num_images == 6
    assert other.difference is not None
    assert other.difference.ap == pytest.approx((other.ap or 0) - (own.ap or 0))


class InThisProcess:
    """Measures at once, instead of in a worker of Ray."""

    def options(self, **_: float) -> "InThisProcess":
        return self

    def remote(self, _path: str, task: SplitTask) -> list[SplitMeasurement]:
        return measure_on_split(task)

    def wait(self, references: list[object], **_: float) -> tuple[list[object], list[object]]:
        return references, []

    def get(self, found: list[SplitMeasurement]) -> list[SplitMeasurement]:
        return found
