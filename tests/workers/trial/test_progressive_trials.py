"""Two teachers one after another: real detectors, trained by trials in this process."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from detection.build import Student, load_student
from detection.data.shapes import make_shapes
from elastic_pool.supernet import Supernet
from searchd import artifacts
from searchd.domain.architecture import preset
from searchd.domain.distillation_methods import MethodName
from searchd.domain.resolution import Resolution
from searchd.domain.teacher import RegisteredTeacher, SimultaneousTeachers, Teaching
from searchd.domain.trial import Outcome, Proposal, Train, TrialRole
from searchd.driver.trial_tasks import handed_on
from searchd.messages.reports import Report
from searchd.messages.tasks import Inherited, PoolRef, TeacherRef, TrialTask
from searchd.spec import (
    DatasetSpec,
    HeadSpec,
    MethodSpec,
    MethodsSpec,
    ScoreSpec,
    SpaceSpec,
    TrainingSpec,
)
from workers.trial.run import run_trial

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SIZE = Resolution(64, 64)
HEAD = HeadSpec(
    neck_channels=16, head_channels=32, anchor_scale=4.0, finest_roi_scale=16, num_proposals=50
)
SPACE = SpaceSpec(
    depths=((1, 2), (1,), (1,), (1,)),
    widths=((1.0,),) * 4,
    neck_channels=(16,),
    resolutions=(SIZE,),
    base_channels=8,
)
A, B = SPACE.space.smallest, SPACE.space.largest
METHODS = MethodsSpec(
    methods=(
        MethodSpec(name=MethodName.MGD),  # its generators are adapters of trained weights
        MethodSpec(name=MethodName.INHERITING),
    )
)
MATCHING = MethodsSpec(methods=(MethodSpec(name=MethodName.FEATURE_MATCHING),))
TRAINING = TrainingSpec(epochs=1, batch_size=4, learning_rate=0.01, resolutions=(SIZE,))
STILL = TRAINING.model_copy(update={"learning_rate": 1e-12})
"""What such a training starts with is what it ends with."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, seed=0, num_train=8, num_validation=4, image_size=64)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE.space, HEAD, num_classes=4)


class Chain:
    """Stages, each a task like those of a driver."""

    def __init__(self, dataset: DatasetSpec, supernet: Supernet, folder: Path) -> None:
        self._dataset, self._folder = dataset, folder
        file = folder / "supernet.safetensors"
        save_file({k: v.contiguous() for k, v in supernet.weights().items()}, file)
        stored = artifacts.write(str(file), file.read_bytes(), name="supernet")
        self._pool = PoolRef(supernet=stored, space=SPACE, head=HEAD, bn_reset_images=8)
        self.base = self._run(
            "base",
            Proposal(role=TrialRole.BASE, number=0, parent=None, teacher=None, **_COMMON),
            detector=HEAD.detector(preset("resnet18", base_channels=8), num_classes=4),
        )

    def given(self, student: TeacherRef) -> Report:
        """The base of a distillation that starts from a finished trial."""
        base = Proposal(role=TrialRole.BASE, number=0, parent=None, teacher=None, **_COMMON)
        taken = {"detector": student.detector, "student": student.weights}
        return self._run("given", base, loaded_base=Inherited.model_validate(taken))

    def stage(
        self, number: int, parent: Report, teacher: Teaching, *earlier: Teaching, **change: Any
    ) -> Report:
        assert parent.detector is not None
        files = {artifact.name: artifact for artifact in parent.artifacts}
        found = Inherited(
            detector=parent.detector, student=files["student"], adapters=files.get("adapters")
        )
        inherited, distillation = handed_on(teacher, earlier, found, METHODS)
        proposal = Proposal(
            role=TrialRole.SEARCH, number=number, parent=parent.trial, teacher=teacher, **_COMMON
        )
        values = {"inherited": inherited, "distillation": distillation, "pool": self._pool}
        return self._run(str(number), proposal, **{**values, **change})

    def _run(self, name: str, proposal: Proposal, **values: Any) -> Report:
        task = TrialTask.model_validate(
            {
                "search": "s-1",
                "proposal": proposal,
                "attempt": 1,
                "dataset": self._dataset,
                "training": TRAINING,
                "score": ScoreSpec(base_resolution=SIZE),
                "evaluated_at": (SIZE,),
                "artifacts": str(self._folder / name),
                **values,
            }
        )
        report = run_trial(task)
        assert report.outcome is Outcome.SUCCEEDED, report.reason
        return report


def registered(report: Report) -> TeacherRef:
    """A trial's student as a teacher."""
    assert report.detector is not None
    files = {artifact.name: artifact for artifact in report.artifacts}
    return TeacherRef(detector=report.detector, weights=files["student"], aps={SIZE: 0.25})


_COMMON: dict[str, Any] = {"change": Train(), "seed": 1, "completed_before": 0}


@pytest.fixture(scope="module")
def chain(
    dataset: DatasetSpec, supernet: Supernet, tmp_path_factory: pytest.TempPathFactory
) -> Chain:
    return Chain(dataset, supernet, tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def first(chain: Chain) -> Report:
    """After the first teacher."""
    return chain.stage(0, chain.base, A)


@pytest.fixture(scope="module")
def second(chain: Chain, first: Report) -> Report:
    """After another teacher, under which the student stands still."""
    return chain.stage(1, first, B, A, training=STILL)


def weights(report: Report, name: str) -> dict[str, torch.Tensor]:
    return load_file(next(a for a in report.artifacts if a.name == name).uri)


def trained(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without BN statistics, which follow the images also where nothing is learned."""
    return {k: v for k, v in state.items() if v.is_floating_point() and "running" not in k}


def test_second_teacher_continues_with_the_student_and_new_adapters(
    first: Report, second: Report
) -> None:
    before, after = trained(weights(first, "student")), trained(weights(second, "student"))
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    assert "mgd" in second.epochs[0].losses
    ours, theirs = weights(first, "adapters"), weights(second, "adapters")
    generators = [name for name in theirs if name.endswith("weight")]
    assert generators
    assert not any(ours[name].allclose(theirs[name], atol=1e-4) for name in generators)


def test_same_teacher_continues_with_its_adapters(chain: Chain, first: Report) -> None:
    again = chain.stage(2, first, A, A, training=STILL)

    ours, theirs = weights(first, "adapters"), weights(again, "adapters")
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-6)


def test_neck_and_head_are_inherited_from_the_first_teacher_alone(
    chain: Chain, supernet: Supernet, first: Report, second: Report
) -> None:
    still = chain.stage(3, chain.base, A, training=STILL)
    head = supernet.weights()["roi_head.bbox_head.fc_cls.weight"]
    name = "roi_head.bbox_head.fc_cls.weight"
    assert weights(still, "student")[name].allclose(head, atol=1e-6)
    assert not weights(chain.base, "student")[name].allclose(head, atol=1e-6)

    assert not weights(second, "student")[name].allclose(head, atol=1e-6)
    assert "inheriting.done" in weights(first, "adapters")
    assert "inheriting.done" not in weights(second, "adapters")


def test_learning_rate_restarts_at_each_teacher(chain: Chain, first: Report) -> None:
    second = chain.stage(5, first, B, A)

    assert [epoch.learning_rate for epoch in first.epochs] == [
        epoch.learning_rate for epoch in second.epochs
    ]
    assert second.detector is not None
    load_student(Student(detector=second.detector, weights=weights(second, "student")))


def test_registered_teacher_teaches_without_a_pool(chain: Chain, first: Report) -> None:
    report = chain.stage(
        6,
        chain.base,
        RegisteredTeacher(teacher="t-1"),
        pool=None,
        registered={"t-1": registered(first)},
        distillation=MATCHING,
    )

    assert "feature_matching" in report.epochs[0].losses
    assert report.checks.teacher_ap == 0.25  # it was measured when the teacher was registered


@pytest.mark.parametrize("definition", ["mean_of_losses", "average_features"])
def test_subnet_and_registered_teacher_teach_at_once(
    chain: Chain, first: Report, definition: Any
) -> None:
    both = SimultaneousTeachers(
        teachers=(B, RegisteredTeacher(teacher="t-1")), definition=definition
    )
    report = chain.stage(
        7, chain.base, both, registered={"t-1": registered(first)}, distillation=MATCHING
    )

    assert "feature_matching" in report.epochs[0].losses
    assert report.checks.teacher_ap is not None
    assert report.checks.teacher_ap <= 0.25  # of several the lowest


def test_teacher_may_see_larger_images_than_its_student(chain: Chain) -> None:
    larger = Resolution(96, 96)
    report = chain.stage(8, chain.base, A, distillation=MATCHING, teacher_resolution=larger)

    assert report.checks.resolution == larger
    assert [evaluation.resolution for evaluation in report.evaluations] == [SIZE]


def test_student_of_a_finished_trial_is_evaluated_as_it_is(chain: Chain, first: Report) -> None:
    taken = chain.given(registered(first))

    assert taken.epochs == ()
    assert taken.evaluations[0].ap == first.evaluations[0].ap
    before, after = weights(first, "student"), weights(taken, "student")
    assert all(before[name].equal(after[name]) for name in before)
