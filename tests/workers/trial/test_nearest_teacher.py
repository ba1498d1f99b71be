"""A trial whose worker chooses among candidates: real detectors, a real supernet, tiny images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from detection.adaptation.cost import adaptation_costs
from detection.build import Student, build_detector, load_student
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.data.views import FixedViews
from elastic_pool.supernet import Supernet
from searchd import artifacts
from searchd.domain.architecture import preset
from searchd.domain.lifecycle import FailureCause
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import TeacherCandidates
from searchd.domain.trial import Outcome, Proposal, Train, TrialRole
from searchd.messages.reports import Progress, Report
from searchd.messages.tasks import Inherited, PoolRef, TrialTask
from searchd.spec import DatasetSpec, HeadSpec, MethodsSpec, ScoreSpec, SpaceSpec, TrainingSpec
from workers.teachers import build_teacher
from workers.trial.nearest_teacher import NearestTeacher
from workers.trial.run import run_trial

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SIZE = Resolution(64, 64)
HEAD = HeadSpec(
    neck_channels=16, head_channels=32, anchor_scale=4.0, finest_roi_scale=16, num_proposals=50
)
SPACE = SpaceSpec(
    depths=((1,),) * 4,
    widths=((1.0,), (1.0,), (1.0,), (1.0, 1.5)),
    neck_channels=(16, 24),
    resolutions=(SIZE,),
    base_channels=8,
)
TRAINING = TrainingSpec(epochs=1, batch_size=8, learning_rate=0.01, resolutions=(SIZE,))
CANDIDATES = tuple(SPACE.space.subnets())
"""All four."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, seed=0, num_train=24, num_validation=6, image_size=64)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(SPACE.space, HEAD, num_classes=4)


@pytest.fixture(scope="module")
def task(
    dataset: DatasetSpec, supernet: Supernet, tmp_path_factory: pytest.TempPathFactory
) -> TrialTask:
    folder = tmp_path_factory.mktemp("stored")
    detector = HEAD.detector(preset("resnet18", base_channels=8), num_classes=4)
    torch.manual_seed(1)
    stored = {
        "supernet": supernet.weights(),
        "student": build_detector(detector).state_dict(),
    }
    for name, weights in stored.items():
        file = folder / name
        save_file({key: value.contiguous() for key, value in weights.items()}, file)
        stored[name] = artifacts.write(str(file), file.read_bytes(), name=name)
    return TrialTask(
        search="s-1",
        proposal=Proposal(
            role=TrialRole.SEARCH,
            number=3,
            parent="base",
            change=Train(),
            teacher=TeacherCandidates(candidates=CANDIDATES),
            seed=1,
            completed_before=0,
        ),
        attempt=1,
        dataset=dataset,
        inherited=Inherited(detector=detector, student=stored["student"]),
        pool=PoolRef(supernet=stored["supernet"], space=SPACE, head=HEAD, bn_reset_images=8),
        training=TRAINING,
        distillation=MethodsSpec(),
        score=ScoreSpec(base_resolution=SIZE),
        evaluated_at=(SIZE,),
        artifacts=str(folder / "1"),
    )


@pytest.fixture(scope="module")
def report(task: TrialTask) -> Report:
    report = run_trial(task)
    assert report.outcome is Outcome.SUCCEEDED, report.reason
    return report


def student_of(task: TrialTask) -> Any:
    assert task.inherited is not None
    weights = load_file(task.inherited.student.uri)
    return load_student(Student(detector=task.inherited.detector, weights=weights))


def teacher_of(task: TrialTask, supernet: Supernet, subnet: Subnet) -> Any:
    assert task.pool is not None
    return build_teacher(
        supernet,
        subnet,
        CocoSplit(task.dataset.train),
        pool=task.pool,
        training=task.training,
        seed=task.proposal.seed,
        device="cpu",
    )


def costs_from_student(task: TrialTask, supernet: Supernet) -> dict[str, float]:
    """Each candidate compared by itself, on all images."""
    costs = {}
    for subnet in CANDIDATES:
        train, validation = (
            FixedViews(
                split=CocoSplit(split),
                resolutions=dict.fromkeys(("student", "teacher"), SIZE),
                batch_size=4,
            )
            for split in (task.dataset.train, task.dataset.validation)
        )
        models = {"student": student_of(task), "teacher": teacher_of(task, supernet, subnet)}
        pairs = [("student", "teacher")]
        found = adaptation_costs(models, train, validation, pairs=pairs, normalize="target_var")
        costs[str(subnet)] = found["student"]["teacher"]
    return costs


def weights(report: Report) -> dict[str, torch.Tensor]:
    return load_file(next(a for a in report.artifacts if a.name == "student").uri)


def test_the_candidate_of_the_smallest_cost_from_the_student_teaches(
    task: TrialTask, report: Report, supernet: Supernet
) -> None:
    costs = costs_from_student(task, supernet)

    assert len(set(costs.values())) == 4
    assert str(report.chosen_teacher) == min(costs, key=lambda name: costs[name])
    note, started = report.notes
    assert note.startswith(f"chose teacher {report.chosen_teacher}; adaptation costs from the ")
    for name, cost in costs.items():
        assert f"{cost:.3g} to {name}" in note
    assert started.startswith("proposal_feature: new adapters start by least squares and explain")


def test_the_student_is_what_it_would_be_had_the_chosen_one_been_proposed(
    task: TrialTask, report: Report, tmp_path: Path
) -> None:
    proposal = replace(task.proposal, teacher=report.chosen_teacher)
    plain = run_trial(task.model_copy(update={"proposal": proposal, "artifacts": str(tmp_path)}))

    assert plain.chosen_teacher is None
    assert plain.checks.teacher_ap == report.checks.teacher_ap
    found, expected = report.checks.first_losses, plain.checks.first_losses
    assert found is not None
    assert expected is not None
    # Without the adapters, which begin with other random weights.
    for name in ("classification", "class_aware_localisation"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)


def test_a_resumed_attempt_keeps_the_choice_and_ends_bit_identical(
    task: TrialTask, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Progress] = []

    def until_trained(progress: Progress) -> bool:
        seen.append(progress)
        return progress.stage != "train"

    sliced = task.model_copy(update={"slice_s": 1e-9, "artifacts": str(tmp_path / "1")})
    stopped = run_trial(sliced, until_trained)
    assert stopped.outcome is Outcome.STOPPED
    assert [p.stage for p in seen].count("choose") >= 4 + 3 + 1  # detectors, batches of 8
    choices: list[object] = []
    monkeypatch.setattr(NearestTeacher, "compare", choices.append)

    resumed = run_trial(
        task.model_copy(
            update={
                "attempt": 2,
                "artifacts": str(tmp_path / "2"),
                "previous_attempts": (str(tmp_path / "1"),),
            }
        )
    )

    assert choices == []
    assert resumed.outcome is Outcome.SUCCEEDED, resumed.reason
    assert resumed.chosen_teacher == report.chosen_teacher
    assert resumed.notes == report.notes[:1]  # its adapters were started by the first attempt
    for name, value in weights(report).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_a_trial_that_is_stopped_while_it_chooses_has_trained_nothing(
    task: TrialTask, report: Report, tmp_path: Path
) -> None:
    sliced = task.model_copy(update={"slice_s": 1e-9, "artifacts": str(tmp_path / "1")})
    stopped = run_trial(sliced, lambda progress: progress.stage != "choose")
    assert stopped.outcome is Outcome.STOPPED
    assert not artifacts.exists(str(tmp_path / "1/resume.pt"))
    assert stopped.chosen_teacher is None
    assert report.chosen_teacher in CANDIDATES


def test_too_few_images_to_choose_by_are_the_data_sets_fault(
    task: TrialTask, tmp_path: Path
) -> None:
    few = make_shapes(tmp_path, seed=0, num_train=8, num_validation=2, image_size=64)
    changes = {"dataset": few, "artifacts": str(tmp_path / "1")}
    report = run_trial(task.model_copy(update=changes))
    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.DATA_ERROR)
    assert "no teacher can be chosen among candidates" in report.reason
    assert "give more or larger training images" in report.reason
