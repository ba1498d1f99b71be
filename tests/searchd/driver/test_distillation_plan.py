"""A distillation, from its base to the rank of its order; Ray and Tune are not there."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.teacher import SimultaneousTeachers
from searchd.domain.trial import Outcome
from searchd.driver.ledger import Ledger
from searchd.driver.trial_loop import run_search
from searchd.driver.tune import TrialScheduler
from searchd.messages.reports import Report
from searchd.messages.tasks import AdaptationCostTask, Comparison, Inherited, TrialTask
from searchd.settings import Settings
from searchd.store import Database, events
from searchd.store.base import now
from searchd.store.resources import distillations
from searchd.store.runs import trials
from searchd.store.work import queue, requests
from tests import fake_workers
from tests.searchd.store import factories

# The comparison's places in the alphabet: largest 0, sampled-1 1, smallest 2, student 3.
PROGRESSIVE: dict[str, Any] = {
    "num_sampled_teachers": 3,
    "order": "forward",
    "max_teachers": 2,
    "baselines": ["direct", "no_teacher"],
    "trial": {"resolutions": ["64x64", "96x96"]},
}


Work = Callable[[TrialTask], Report]
Compare = Callable[[AdaptationCostTask, Callable[[], bool]], Comparison | None]


class Comparer:
    """Measures what `fake_workers.compare` does.

    Attributes:
        orders: Handed in so far.
    """

    def __init__(self) -> None:
        self.tasks: list[AdaptationCostTask] = []
        self.compare: Compare = fake_workers.compare

    def __call__(
        self, task: AdaptationCostTask, is_cancelled: Callable[[], bool]
    ) -> Comparison | None:
        self.tasks.append(task)
        return self.compare(task, is_cancelled)


@pytest.fixture
def comparer(monkeypatch: pytest.MonkeyPatch) -> Comparer:
    made = Comparer()
    monkeypatch.setattr("searchd.driver.distillation_plan.resolve", lambda _: made)
    return made


class Scene:
    """A distillation and everything around its driver."""

    def __init__(self, database: Database, settings: Settings, **changes: Any) -> None:
        self.database = database
        self.settings = settings
        row = factories.add_distillation(database, f"d{len(str(changes))}", **PROGRESSIVE | changes)
        self.id = row.id
        self.stopping = threading.Event()
        self.work: Work = lambda task: factories.succeeded(task.proposal.name)
        self.begun: list[list[str]] = []
        self.ledger = self.taken_up()

    def taken_up(self) -> Ledger:
        """What the next driver keeps."""
        with factories.leased(self.database, f"distillation-{self.id}") as (_, lease):
            return Ledger(self.database, lease, self.settings)

    def run(self) -> tuple[SearchStatus, str]:
        return run_search(self.ledger, self.settings, self.stopping)

    def run_tuner(self, scheduler: TrialScheduler, *_: Any, **__: Any) -> None:
        """One trial at a time until there is nothing left."""
        self.begun.append([])
        scheduler.acknowledge_stop()
        while (task := scheduler.next(str(len(self.begun[-1])))) is not None:
            tune_id = str(len(self.begun[-1]))
            scheduler.started(tune_id)
            self.begun[-1].append(task.proposal.name)
            scheduler.reported(tune_id, self.work(task))
            scheduler.acknowledge_stop()


@pytest.fixture
def scene(
    sqlite: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, comparer: Comparer
) -> Callable[..., Scene]:
    """Makes distillations; the last one made is run."""
    del comparer
    factories.add_dataset(sqlite)
    factories.add_pool(sqlite)
    monkeypatch.setattr("searchd.driver.trial_loop.connect", lambda _: None)
    monkeypatch.setattr("searchd.driver.trial_loop.resolve", lambda _: None)
    monkeypatch.setattr("searchd.driver.trial_loop.measure_latencies", lambda *_: None)
    monkeypatch.setattr("searchd.driver.trial_loop._POOL_POLL_S", 0.0)

    def make(**changes: Any) -> Scene:
        made = Scene(sqlite, settings, **changes)
        monkeypatch.setattr("searchd.driver.trial_loop.run_tuner", made.run_tuner)
        return made

    return make


@pytest.fixture
def stage(scene: Callable[..., Scene]) -> Scene:
    return scene()


def messages(stage: Scene) -> list[str]:
    """Of the events that no trial has."""
    with stage.database.read() as session:
        found = events.after(session, stage.id)
        return [event.message for event in found if event.subject == stage.id]


def taken_up_again(stage: Scene) -> Ledger:
    """What a second driver keeps, once the first is given up."""
    with stage.database.write() as session:
        held = queue.lease_of(queue.get(session, f"distillation-{stage.id}"))
        queue.requeue(session, held, "its driver died", delay_s=0, now=now())
    return stage.taken_up()


def test_base_comes_first_then_the_costs_then_the_stages(stage: Scene, comparer: Comparer) -> None:
    assert stage.run() == (SearchStatus.SUCCEEDED, "progressive: 6 stages")

    assert stage.begun == [["base"], ["0", "1", "2", "3", "control-1", "control-2"]]
    (task,) = comparer.tasks
    assert list(task.teachers) == ["largest", "smallest", "sampled-1"]
    # From the student and among the teachers; none to the student.
    assert len(task.pairs) == 3 * 3
    assert not [pair for pair in task.pairs if pair[1] == "student"]
    assert str(task.resolution) == "96x96"


def test_reasons_are_among_the_events(stage: Scene) -> None:
    stage.run()

    space = factories.pool_spec().space.space
    said = messages(stage)
    assert "9 of 9 adaptation costs of 3 teachers are measured, the others are known" in said
    assert "teachers: smallest > sampled-1, by forward; 6 stages are trained" in said
    assert (
        f"teacher 1, smallest ({space.smallest}, AP 0.020, adaptation cost 1): "
        "nearest to student (1) of the unused teachers"
    ) in said
    assert any(
        message.startswith("teacher 2, sampled-1 (") and "nearest to smallest (1)" in message
        for message in said
    )


def test_stages_hand_on_the_student_and_no_adapters_to_another_teacher(stage: Scene) -> None:
    tasks: dict[str, TrialTask] = {}

    def note(task: TrialTask) -> Report:
        tasks[task.proposal.name] = task
        return factories.succeeded(task.proposal.name)

    stage.work = note
    stage.run()

    inherited = {name: task.inherited for name, task in tasks.items() if task.inherited}
    assert [name for name, found in inherited.items() if found.adapters] == ["3"]  # direct
    assert {m.name for m in tasks["1"].distillation.methods} == {"feature_matching"}
    assert tasks["control-2"].distillation.methods == ()


def test_end_says_how_the_order_and_its_baselines_did(stage: Scene) -> None:
    aps = {"base": 0.30, "0": 0.35, "1": 0.41, "2": 0.33, "3": 0.38, "control-2": 0.32}
    stage.work = lambda task: factories.succeeded(
        task.proposal.name, ap=aps.get(task.proposal.name, 0.31)
    )
    stage.run()

    assert (
        "AP at 96x96: base 0.300; smallest > sampled-1 0.410; sampled-1 > sampled-1 0.380; "
        "no teacher > no teacher 0.320"
    ) in messages(stage)


def test_study_ranks_the_order_among_all(scene: Callable[..., Scene]) -> None:
    stage = scene(study=True, baselines=())
    # Trial 1 is the order, as it is planned first; three others are better.
    better = {"2", "3", "8"}
    stage.work = lambda task: factories.succeeded(
        task.proposal.name, ap=0.5 if task.proposal.name in better else 0.4
    )

    assert stage.run() == (SearchStatus.SUCCEEDED, "progressive: 9 stages")

    said = messages(stage)
    assert "the order smallest > sampled-1 has rank 4 of 9 trained orders" in said


def test_order_that_was_not_completed_has_no_rank(scene: Callable[..., Scene]) -> None:
    stage = scene(study=True, baselines=())
    stage.work = lambda task: (
        factories.succeeded(task.proposal.name)
        if task.proposal.name != "1"
        else Report(trial="1", attempt=task.attempt, outcome=Outcome.FAILED, reason="lost")
    )

    assert stage.run()[0] is SearchStatus.SUCCEEDED

    said = messages(stage)
    assert "the order smallest > sampled-1 was not completed and has no rank" in said


def test_submitted_order_is_trained_and_nothing_is_measured(
    scene: Callable[..., Scene], comparer: Comparer
) -> None:
    stage = scene(order=["sampled-1", "largest"], baselines=())

    assert stage.run() == (SearchStatus.SUCCEEDED, "progressive: 2 stages")

    assert comparer.tasks == []
    assert "teachers: sampled-1 > largest, as submitted; 2 stages are trained" in messages(stage)


def test_driver_killed_in_the_middle_loses_nothing(stage: Scene, comparer: Comparer) -> None:
    class Killed(BaseException):
        """The process is gone."""

    def die_in_trial_1(task: TrialTask) -> Report:
        if task.proposal.name == "1" and task.attempt == 1:
            raise Killed
        return factories.succeeded(task.proposal.name, attempt=task.attempt)

    stage.work = die_in_trial_1
    with pytest.raises(Killed):
        stage.run()
    first = stage.ledger.row().plan
    ledger = taken_up_again(stage)
    comparer.compare = no_comparison

    assert run_search(ledger, stage.settings, threading.Event())[0] is SearchStatus.SUCCEEDED

    assert ledger.row().plan == first
    assert stage.begun == [
        ["base"],
        ["0", "1"],
        ["1", "2", "3", "control-1", "control-2"],  # trial 0 is not trained again
    ]
    said = messages(stage)
    assert len([message for message in said if message.startswith("teachers: ")]) == 1


def test_driver_killed_while_it_writes_the_plan_finds_the_same_one(
    stage: Scene, comparer: Comparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """The process is gone."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(distillations, "record_plan", die)
        with pytest.raises(Killed):
            stage.run()
    ledger = taken_up_again(stage)

    assert run_search(ledger, stage.settings, threading.Event())[0] is SearchStatus.SUCCEEDED

    assert [len(task.pairs) for task in comparer.tasks] == [9, 0]  # costs are kept
    said = messages(stage)
    assert len([message for message in said if message.startswith("teachers: ")]) == 1


@pytest.mark.parametrize(
    ("changes", "num_measured"),
    [
        ({"seed": 0}, 0),
        ({"order": "backward_greedy"}, 0),
        ({"normalize": "target_var"}, 9),
        ({"num_sampled_teachers": 4}, 1 + 2 * 3),
        ({"trial": {"resolutions": ["64x64", "96x96"], "batch_size": 2}}, 9),
        ({"teacher_resolution": "128x128"}, 9),
    ],
)
def test_later_distillation_measures_only_what_none_has_measured(
    scene: Callable[..., Scene],
    comparer: Comparer,
    changes: dict[str, Any],
    num_measured: int,
) -> None:
    scene().run()

    assert scene(**changes).run()[0] is SearchStatus.SUCCEEDED

    assert [len(task.pairs) for task in comparer.tasks] == [9, num_measured]


def test_simultaneous_teachers_are_handed_to_one_worker(scene: Callable[..., Scene]) -> None:
    stage = scene(baselines=["mean_of_losses"])
    taught: dict[str, object] = {}

    def note(task: TrialTask) -> Report:
        taught[task.proposal.name] = task.proposal.teacher
        return factories.succeeded(task.proposal.name)

    stage.work = note

    assert stage.run() == (SearchStatus.SUCCEEDED, "progressive: 4 stages")

    space = factories.pool_spec().space.space
    assert taught["2"] == taught["3"] != taught["1"]
    assert isinstance(taught["2"], SimultaneousTeachers)
    assert taught["2"].teachers[0] == space.smallest
    assert any("; mean_of_losses > mean_of_losses 0.500" in said for said in messages(stage))


def test_teacher_may_teach_by_methods_of_its_own_and_see_larger_images(
    scene: Callable[..., Scene],
) -> None:
    own = {"smallest": {"methods": [{"name": "cwd"}]}}
    stage = scene(teacher_methods=own, teacher_resolution="128x128", baselines=["no_teacher"])
    tasks: dict[str, TrialTask] = {}

    def note(task: TrialTask) -> Report:
        tasks[task.proposal.name] = task
        return factories.succeeded(task.proposal.name)

    stage.work = note
    stage.run()

    assert [m.name for m in tasks["0"].distillation.methods] == ["cwd"]
    assert [m.name for m in tasks["1"].distillation.methods] == ["feature_matching"]
    assert str(tasks["0"].teacher_resolution) == "128x128"
    assert tasks["control-1"].teacher_resolution is None


def test_each_value_of_a_sweep_is_trained_from_the_same_student(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("searchd.driver.trial_loop.measure_on_splits", lambda *_: None)
    field = "distillation.methods.feature_matching.weight"
    stage = scene(
        order=["largest"], baselines=["no_teacher"], sweep={"field": field, "values": [2, 50]}
    )
    tasks: dict[str, TrialTask] = {}

    def note(task: TrialTask) -> Report:
        name = task.proposal.name
        tasks[name] = task
        if name == "2":
            return Report(trial=name, attempt=task.attempt, outcome=Outcome.FAILED, reason="lost")
        return factories.succeeded(name, ap=0.45 if name == "1" else 0.4)

    stage.work = note

    assert stage.run() == (SearchStatus.SUCCEEDED, "progressive: 4 stages")

    assert stage.begun[-1] == ["0", "control-1", "1", "2"]
    weights = {name: [m.weight for m in task.distillation.methods] for name, task in tasks.items()}
    assert weights == {"base": [], "0": [None], "control-1": [], "1": [2], "2": [50]}
    assert tasks["1"].inherited == tasks["0"].inherited
    assert tasks["1"].training == tasks["0"].training
    said = messages(stage)
    assert "teachers: largest, as submitted; 4 stages are trained" in said
    assert f"AP by {field}: default 0.400; 2 0.450; 50 failed" in said


def test_a_swept_setting_of_the_training_reaches_the_worker(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("searchd.driver.trial_loop.measure_on_splits", lambda *_: None)
    stage = scene(order=["largest"], baselines=[], sweep={"field": "trial.epochs", "values": [2]})
    epochs: dict[str, int] = {}

    def note(task: TrialTask) -> Report:
        epochs[task.proposal.name] = task.training.epochs
        return factories.succeeded(task.proposal.name)

    stage.work = note
    stage.run()

    assert (epochs["0"], epochs["1"]) == (3, 2)


def test_student_of_a_trial_is_the_base_and_hands_on_its_adapters_under_its_own_teacher(
    sqlite: Database, scene: Callable[..., Scene]
) -> None:
    _, lease = factories.start_search(sqlite)
    factories.run_trial(sqlite, lease, factories.base_proposal())
    trial = factories.run_trial(sqlite, lease, factories.search_proposal(0))
    kept = factories.search_proposal(0).teacher
    stage = scene(
        student={"trial": trial.id},
        num_sampled_teachers=None,
        teachers={"kept": kept},
        order=["kept"],
        baselines=[],
    )
    tasks: dict[str, TrialTask] = {}

    def note(task: TrialTask) -> Report:
        tasks[task.proposal.name] = task
        return factories.succeeded(task.proposal.name)

    stage.work = note

    assert stage.run() == (SearchStatus.SUCCEEDED, "progressive: 1 stages")

    base, first = tasks["base"], tasks["0"]
    assert base.detector is None
    assert isinstance(base.loaded_base, Inherited)
    assert base.loaded_base.student == factories.artifact("student")
    assert first.inherited is not None
    assert first.inherited.adapters == factories.artifact("adapters")
    with sqlite.read() as session:
        line = trials.ancestors(session, f"{stage.id}-0")
    assert [row.id for row in line[-3:]] == [trial.id, f"{stage.id}-base", f"{stage.id}-0"]


def no_comparison(task: AdaptationCostTask, _: Callable[[], bool]) -> Comparison | None:
    raise AssertionError(f"nothing is to be measured, but {task} was ordered")


def test_costs_that_cannot_be_measured_fail_the_search_with_the_reason(
    stage: Scene, comparer: Comparer
) -> None:
    def too_few(task: AdaptationCostTask, _: Callable[[], bool]) -> Comparison | None:
        raise InvalidValueError(f"too few images for {len(task.pairs)} costs")

    comparer.compare = too_few

    assert stage.run() == (
        SearchStatus.FAILED,
        "its teachers could not be ordered: too few images for 9 costs",
    )
    assert stage.begun == [["base"]]


def test_cancelled_comparison_ends_the_search(stage: Scene, comparer: Comparer) -> None:
    def cancel(task: AdaptationCostTask, is_cancelled: Callable[[], bool]) -> Comparison | None:
        with stage.database.write() as session:
            requests.ask_to_cancel(session, stage.id)
        stage.stopping.set()
        return fake_workers.compare(task, is_cancelled)

    comparer.compare = cancel

    assert stage.run() == (SearchStatus.CANCELLED, "cancelled by a user")
    assert stage.ledger.row().plan is None
