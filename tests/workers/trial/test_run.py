"""One distillation trial, as a plain function, with real detectors on real images."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from detection.build import Student, build_detector, load_student
from detection.measurement.evaluation import predict
from searchd import artifacts
from searchd.domain.actions import AddLayer, ChannelImportance, PruneChannels, PruneLayer
from searchd.domain.architecture import preset
from searchd.domain.breakdown import ErrorKind
from searchd.domain.detector import Family
from searchd.domain.lifecycle import FailureCause
from searchd.domain.trial import Artifact, MutateTeacher, Outcome, Train
from searchd.messages.codecs import REPORT, SAMPLE_PREDICTIONS
from searchd.messages.reports import Progress, Report
from searchd.messages.tasks import PoolRef
from searchd.spec import DatasetSpec, MethodSpec, MethodsSpec
from tests.workers.trial.tasks import (
    BACKBONE,
    HEAD,
    ONE_EPOCH,
    SIZE,
    SPACE,
    TRAINING,
    artifact,
    base_task,
    child_task,
    weights,
)
from workers.trial.context import TrialContext
from workers.trial.run import run_trial, trial_steps
from workers.trial.student_and_teacher import PairBuilder

pytestmark = pytest.mark.timeout(60)  # real detectors are trained


def stop_after(num_slices: int) -> Any:
    left = iter(range(num_slices))
    return lambda _: next(left, None) is not None


def test_base_is_trained_evaluated_at_every_resolution_and_stored(base: Report) -> None:
    assert [str(e.resolution) for e in base.evaluations] == ["64x64", "48x48"]
    assert all(0 <= e.ap <= e.ap50 <= 1 for e in base.evaluations)
    assert base.evaluations[0].macs > base.evaluations[1].macs > 0
    assert base.base_macs == base.evaluations[0].macs
    assert base.evaluations[0].latency_s > 0
    assert [epoch.epoch for epoch in base.epochs] == [1, 2]
    assert {a.name for a in base.artifacts} == {"detector", "predictions", "student"}


def test_base_is_broken_down_by_class_and_error_and_shown_on_sample_images(base: Report) -> None:
    for evaluation in base.evaluations:
        found = evaluation.breakdown
        assert found is not None
        assert list(found.class_aps) == ["circle", "square", "triangle", "cross"]
        known = [ap for ap in found.class_aps.values() if ap >= 0]
        assert sum(known) / len(known) == pytest.approx(evaluation.ap)
        assert set(found.errors) == set(ErrorKind)
        assert found.num_error_images == 6
    stored = SAMPLE_PREDICTIONS.validate_json(artifacts.read(artifact(base, "predictions")))
    assert str(stored.resolution) == "64x64"
    assert len(stored.images) == 4


def test_report_is_written_and_the_checkpoint_is_gone_afterwards(base: Report) -> None:
    folder = artifact(base, "student").uri.rpartition("/")[0]
    assert REPORT.validate_python(artifacts.read_json(f"{folder}/report.json")) == base
    assert not artifacts.exists(f"{folder}/resume.pt")


def test_training_lowers_the_detection_loss(dataset: DatasetSpec, tmp_path: Path) -> None:
    longer = TRAINING.model_copy(update={"epochs": 4})
    report = run_trial(base_task(dataset, tmp_path, training=longer))
    assert report.epochs[-1].losses["loss"] < 0.8 * report.epochs[0].losses["loss"]


def test_child_inherits_evolves_and_is_distilled(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    change = PruneChannels(fraction=0.2, min_channels=2)
    report = run_trial(child_task(dataset, base, pool, tmp_path, change))
    assert report.outcome is Outcome.SUCCEEDED, report.reason
    assert set(report.epochs[0].losses) >= {
        "proposal_feature",
        "classification",
        "class_aware_localisation",
        "bn_l1",
        "loss_rpn_cls",
    }
    assert base.detector is not None
    assert report.detector is not None
    assert report.detector.architecture.depths == base.detector.architecture.depths
    assert report.base_macs is not None
    assert base.base_macs is not None
    assert report.base_macs < base.base_macs
    assert {a.name for a in report.artifacts} == {
        "detector",
        "predictions",
        "student",
        "adapters",
    }


def test_distilled_student_has_the_keys_and_shapes_of_a_plain_one(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    task = child_task(dataset, base, pool, tmp_path, AddLayer(stage=2), training=ONE_EPOCH)
    report = run_trial(task)
    assert report.detector is not None
    plain = build_detector(report.detector).state_dict()
    assert {k: v.shape for k, v in weights(report).items()} == {
        k: v.shape for k, v in plain.items()
    }
    load_student(Student(detector=report.detector, weights=weights(report)))


def test_adapters_are_inherited_with_the_student(
    dataset: DatasetSpec, child: Report, pool: PoolRef, tmp_path: Path
) -> None:
    task = child_task(dataset, child, pool, tmp_path, MutateTeacher())
    assert task.inherited is not None
    inherited = task.inherited.model_copy(update={"adapters": artifact(child, "adapters")})
    cold = ONE_EPOCH.model_copy(update={"learning_rate": 1e-12, "weight_decay": 0.0})
    grandchild = run_trial(task.model_copy(update={"inherited": inherited, "training": cold}))
    before, after = (weights(r, "adapters") for r in (child, grandchild))
    for name in before:
        torch.testing.assert_close(after[name], before[name])


def test_channels_are_ranked_by_images_as_well_and_the_same_ones_on_every_attempt(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    def student(importance: ChannelImportance) -> Student:
        change = PruneChannels(fraction=0.3, min_channels=2, importance=importance)
        task = child_task(dataset, base, pool, tmp_path, change)
        torch.manual_seed(5)  # whatever was drawn before
        return PairBuilder(task, TrialContext()).student()

    first, again = student(ChannelImportance.TAYLOR), student(ChannelImportance.TAYLOR)
    by_gamma = student(ChannelImportance.GAMMA)

    assert first.detector == again.detector
    torch.testing.assert_close(first.weights, again.weights, rtol=0, atol=0)
    assert first.detector != by_gamma.detector
    load_student(first)  # its weights fit


def test_action_with_nothing_to_do_trains_nothing(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    change = PruneChannels(fraction=0.05, min_channels=512)
    report = run_trial(child_task(dataset, base, pool, tmp_path, change))
    assert report.outcome is Outcome.NO_OP
    assert report.epochs == ()
    assert report.reason


def test_stopped_trial_resumes_from_its_checkpoint_and_ends_bit_identical(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    task = child_task(dataset, base, pool, tmp_path / "whole", PruneLayer())
    whole = run_trial(task)
    sliced = task.model_copy(update={"slice_s": 1e-9, "artifacts": str(tmp_path / "1")})
    stopped = run_trial(sliced, stop_after(4))
    assert stopped.outcome is Outcome.STOPPED
    assert not artifacts.exists(str(tmp_path / "1/report.json"))
    resumed = run_trial(
        task.model_copy(
            update={
                "attempt": 2,
                "artifacts": str(tmp_path / "2"),
                "previous_attempts": (str(tmp_path / "1"),),
            }
        )
    )
    assert resumed.detector == whole.detector
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert [e.losses for e in resumed.epochs] == [e.losses for e in whole.epochs]


def test_unreadable_checkpoint_is_skipped(dataset: DatasetSpec, tmp_path: Path) -> None:
    artifacts.write(str(tmp_path / "0/resume.pt"), b"not a checkpoint", name="resume")
    task = base_task(
        dataset,
        tmp_path,
        attempt=2,
        previous_attempts=(str(tmp_path / "0"),),
        training=ONE_EPOCH,
        evaluated_at=(SIZE,),
    )
    assert run_trial(task).outcome is Outcome.SUCCEEDED


def test_progress_is_handed_over_after_every_slice(dataset: DatasetSpec, tmp_path: Path) -> None:
    seen: list[Progress] = []

    def remember(progress: Progress) -> bool:
        seen.append(progress)
        return True

    run_trial(base_task(dataset, tmp_path, slice_s=1e-9, evaluated_at=(SIZE,)), remember)
    assert [p.stage for p in seen[:2]] == ["prepare", "train"]
    trained = [(p.epoch, p.iteration) for p in seen if p.stage == "train"]
    assert trained == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert seen[2].losses["loss"] > 0
    assert seen[-1].stage == "evaluate"


def test_damaged_parent_is_a_bad_checkpoint(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    task = child_task(dataset, base, pool, tmp_path, PruneLayer())
    assert task.inherited is not None
    missing = Artifact(name="student", uri=str(tmp_path / "gone"), sha256="0", size_bytes=1)
    inherited = task.inherited.model_copy(update={"student": missing})
    report = run_trial(task.model_copy(update={"inherited": inherited}))
    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.BAD_CHECKPOINT)
    assert "student is missing" in report.reason


def test_store_that_takes_no_writes_is_waited_for_once(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def refuse(uri: str, _data: bytes) -> None:
        tried.append(uri.rpartition("/")[2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts, "_store", refuse)
    monkeypatch.setattr(artifacts, "WRITE_TIMEOUT_S", 0.0)
    report = run_trial(base_task(dataset, tmp_path))
    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.STORE_REFUSED)
    assert tried == ["detector.json"]


def test_detector_with_other_classes_is_a_data_error(dataset: DatasetSpec, tmp_path: Path) -> None:
    task = base_task(dataset, tmp_path, detector=HEAD.detector(BACKBONE, num_classes=7))
    report = run_trial(task)
    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.DATA_ERROR)
    assert "has 4 classes, but the detector has 7" in report.reason


def test_exploding_loss_is_reported_as_non_finite(dataset: DatasetSpec, tmp_path: Path) -> None:
    wild = TRAINING.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30, "epochs": 5})
    report = run_trial(base_task(dataset, tmp_path, training=wild))
    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.NON_FINITE_LOSS)


def test_unexpected_failure_is_a_bug_with_its_traceback(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    task = child_task(dataset, base, pool, tmp_path, PruneLayer())
    assert task.pool is not None
    other = task.pool.model_copy(update={"space": SPACE.model_copy(update={"base_channels": 16})})
    report = run_trial(task.model_copy(update={"pool": other}))
    assert (report.outcome, report.cause) == (Outcome.FAILED, FailureCause.BUG)
    assert "Traceback" in report.reason


def test_teachers_ap_is_measured_once_and_recorded_with_the_trial(
    dataset: DatasetSpec,
    base: Report,
    child: Report,
    pool: PoolRef,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = child_task(dataset, base, pool, tmp_path, Train(), training=ONE_EPOCH)
    assert task.inherited is not None
    inherited = task.inherited.model_copy(update={"aps": {SIZE: 0.25}})
    evaluated: list[object] = []

    def counted(model: Any, *rest: Any, **options: Any) -> Any:
        evaluated.append(model)
        return predict(model, *rest, **options)

    monkeypatch.setattr("workers.trial.run.predict", counted)

    second = run_trial(task.model_copy(update={"inherited": inherited}))

    assert child.checks.resolution == second.checks.resolution == SIZE
    assert child.checks.teacher_ap == second.checks.teacher_ap
    assert child.checks.teacher_ap is not None
    assert child.checks.teacher_ap < 0.05  # its weights are random
    assert second.checks.teacher_ap_floor == 0.25
    assert "which is not above 25.0%" in second.checks.warnings[0]
    assert len(evaluated) == 1  # the student


def test_spec_sets_the_floor_of_the_teachers_ap(child: Report) -> None:
    assert child.checks.teacher_ap_floor == 0.5
    assert "not above 50.0%" in child.checks.warnings[0]


def test_first_steps_losses_and_equality_to_plain_training_are_recorded(child: Report) -> None:
    assert child.checks.undistilled_difference == 0.0
    assert child.checks.first_losses is not None
    assert {"loss_cls", "proposal_feature", "loss"} <= set(child.checks.first_losses)


def test_trial_that_ends_with_an_ap_of_zero_is_suspicious_and_says_why(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.trial.run.predict", lambda *_, **__: iter([[]]))

    report = run_trial(base_task(dataset, tmp_path, training=ONE_EPOCH))

    assert [evaluation.ap for evaluation in report.evaluations] == [0.0, 0.0]
    assert report.checks.suspicious == (
        "AP is exactly zero at every resolution after the last epoch: no object was detected"
    )
    assert report.checks.teacher_ap is None


def test_checks_survive_a_failure(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    task = child_task(dataset, base, pool, tmp_path, Train())
    hot = TRAINING.model_copy(update={"learning_rate": 1e9})

    report = run_trial(task.model_copy(update={"training": hot}))

    assert report.cause is FailureCause.NON_FINITE_LOSS
    assert report.checks.teacher_ap is not None
    assert report.checks.first_losses is not None


@pytest.mark.parametrize(
    ("family", "backbone", "methods"),
    [
        (Family.RETINANET, "resnet18", ("sgfi", "ckd")),
        (Family.FCOS, "mobilenet_v2", ("feature_matching", "prediction_conversion")),
        (Family.MASK_RCNN, "resnet18", ("proposal_feature", "class_aware_localisation")),
        (Family.CASCADE_RCNN, "resnext50_32x4d", ("proposal_feature", "classification")),
        (Family.CASCADE_MASK_RCNN, "resnet18", ("feature_matching", "classification")),
        (Family.ATSS, "mobilenet_v2", ("proposal_feature", "prediction_conversion")),
        (Family.GFL, "resnet18", ("sgfi", "pkd")),
        (Family.VFNET, "resnext50_32x4d", ("proposal_feature", "prediction_conversion")),
        (Family.TOOD, "resnet18", ("ckd", "prediction_conversion")),
    ],
)
def test_students_of_other_families_and_blocks_evolve_and_learn_from_a_two_stage_pool(
    family: Family,
    backbone: str,
    methods: tuple[str, ...],
    dataset: DatasetSpec,
    pool: PoolRef,
    tmp_path: Path,
) -> None:
    head = HEAD.model_copy(
        update={
            "family": family,
            "mask_channels": 8,
            "tower_channels": 16,
            "tower_convs": 1,
            "sampled_rois": 32,
        }
    )
    architecture = preset(backbone, base_channels=16 if "resnext" in backbone else 8)
    first = run_trial(
        base_task(
            dataset,
            tmp_path / "base",
            detector=head.detector(architecture, num_classes=4),
            training=ONE_EPOCH,
            evaluated_at=(SIZE,),
        )
    )
    task = child_task(dataset, first, pool, tmp_path / "child", PruneChannels(min_channels=2))
    specs = tuple(MethodSpec.model_validate({"name": name}) for name in methods)

    report = run_trial(
        task.model_copy(update={"distillation": MethodsSpec(methods=specs), "training": ONE_EPOCH})
    )

    assert report.outcome is Outcome.SUCCEEDED, report.reason
    assert set(methods) <= set(report.epochs[-1].losses)
    assert report.params is not None
    assert first.params is not None
    assert report.params < first.params


def test_context_keeps_data_and_supernet_loaded(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    context = TrialContext()
    steps = trial_steps(child_task(dataset, base, pool, tmp_path, MutateTeacher()), context)
    next(steps)
    split = context.split(dataset.train)
    supernet = context.supernet(pool, 4)
    assert context.split(dataset.train) is split
    assert context.supernet(pool, 4) is supernet
