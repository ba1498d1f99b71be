"""Teachers are trained, stopped, resumed, evaluated and stored, without Ray."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from detection.data.coco import CocoSplit
from detection.measurement.evaluation import evaluate
from detection.mmdet.config import assemble_mmdet
from searchd import artifacts
from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.lifecycle import FailureCause
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Outcome
from searchd.messages.codecs import TEACHER_TRAINING_REPORT
from searchd.messages.reports import TeacherProgress, TeacherReport, TeacherTrainingReport
from searchd.messages.tasks import TeacherRef, TeacherTrainingTask
from searchd.spec import DatasetSpec, TeacherSpec
from tests.detection.test_teacher_loading import described
from workers.teacher_training import train_teacher
from workers.teachers import load_teacher

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SIZE = Resolution(64, 64)
TRAINING = {"epochs": 2, "batch_size": 4, "learning_rate": 0.005, "resolutions": ["64x64"]}
HEAD = {
    "neck_channels": 8,
    "head_channels": 32,
    "anchor_scale": 4,
    "finest_roi_scale": 16,
    "num_proposals": 50,
    "sampled_rois": 32,
}
OWN = {"backbone": "resnet18", "base_channels": 8, "head": HEAD, "training": TRAINING}
SWIN = described("Swin, RetinaNet")


def task(
    dataset: DatasetSpec, folder: Path, train: dict[str, Any], *, attempt: int = 1, **values: Any
) -> TeacherTrainingTask:
    spec = {"name": "strong", "dataset": dataset.name, "resolution": "64x64", "train": train}
    return TeacherTrainingTask(
        teacher="t-1",
        attempt=attempt,
        spec=TeacherSpec.model_validate(spec),
        dataset=dataset,
        artifacts=str(folder / f"attempt-{attempt}"),
        previous_attempts=tuple(
            str(folder / f"attempt-{earlier}") for earlier in range(attempt - 1, 0, -1)
        ),
        **values,
    )


def swin(checkpoint: Path | None, **training: Any) -> dict[str, Any]:
    source = {"config": SWIN.config, "options": dict(SWIN.options), "checkpoint": checkpoint}
    return {"mmdet": source, "training": {**TRAINING, **training}}


def checkpoint(folder: Path, num_classes: int) -> Path:
    torch.manual_seed(5)
    file = folder / f"swin-{num_classes}.safetensors"
    save_file(assemble_mmdet(described("Swin, RetinaNet", num_classes)).state_dict(), file)
    return file


def result(report: TeacherTrainingReport) -> TeacherReport:
    assert report.outcome is Outcome.SUCCEEDED, report.reason
    assert report.result is not None
    return report.result


def noting(seen: list[TeacherProgress]) -> Callable[[TeacherProgress], bool]:
    """Return what notes every progress and never stops the training."""

    def note(at: TeacherProgress) -> bool:
        seen.append(at)
        return True

    return note


def test_a_checkpoint_of_other_classes_is_fine_tuned_into_a_teacher(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    seen: list[TeacherProgress] = []
    file = checkpoint(tmp_path, num_classes=7)

    report = train_teacher(task(dataset, tmp_path, swin(file)), noting(seen))

    found = result(report)
    assert isinstance(found.detector, MmdetDetector)
    assert found.detector.num_classes == 4
    assert [epoch.epoch for epoch in found.epochs] == [1, 2]
    assert found.epochs[1].losses["loss"] < found.epochs[0].losses["loss"]
    loaded, anew = seen[-1].notes
    assert loaded == f"loaded 165 of 167 weights of {file}"
    assert anew.startswith("these start anew, since they depend on the classes: ")
    assert "bbox_head.retina_cls.bias (63,) instead of (36,)" in anew
    before, after = load_file(file), load_file(Path(found.weights.uri))
    assert after["bbox_head.retina_cls.bias"].shape == (36,)
    name = "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight"
    assert 0 < (after[name] - before[name]).abs().max() < 0.1, "trained from the checkpoint"


def test_a_trained_teacher_is_stored_as_it_was_evaluated(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    found = result(train_teacher(task(dataset, tmp_path, OWN)))

    assert isinstance(found.detector, Detector)
    assert (found.detector.num_classes, found.detector.neck_channels) == (4, 8)
    model = load_teacher(TeacherRef(detector=found.detector, weights=found.weights))
    assert evaluate(model, CocoSplit(dataset.validation), SIZE).ap == found.evaluation.ap
    assert [(level.stride, level.channels) for level in found.levels] == [
        (stride, 8) for stride in (4, 8, 16, 32, 64)
    ]
    written = artifacts.read_json(str(tmp_path / "attempt-1" / "report.json"))
    assert TEACHER_TRAINING_REPORT.validate_python(written).result == found
    assert not (tmp_path / "attempt-1" / "epoch.pt").exists()


def test_averaged_weights_are_evaluated_and_stored(dataset: DatasetSpec, tmp_path: Path) -> None:
    plain = result(train_teacher(task(dataset, tmp_path / "plain", OWN)))
    averaged = {**OWN, "training": {**TRAINING, "ema": {}}}
    found = result(train_teacher(task(dataset, tmp_path / "averaged", averaged)))
    assert found.weights.sha256 != plain.weights.sha256
    model = load_teacher(TeacherRef(detector=found.detector, weights=found.weights))
    assert evaluate(model, CocoSplit(dataset.validation), SIZE).ap == found.evaluation.ap


def test_a_batch_size_that_is_found_is_noted(dataset: DatasetSpec, tmp_path: Path) -> None:
    seen: list[TeacherProgress] = []
    automatic = {**OWN, "training": {**TRAINING, "batch_size": "auto", "epochs": 1}}
    result(train_teacher(task(dataset, tmp_path, automatic), noting(seen)))
    (note,) = seen[-1].notes
    assert note.startswith("batch size ")


@pytest.mark.parametrize("source", ["own", "mmdet"])
def test_a_stopped_training_resumes_where_it_was_and_ends_with_the_same_weights(
    dataset: DatasetSpec, tmp_path: Path, source: str
) -> None:
    train = OWN if source == "own" else swin(checkpoint(tmp_path, num_classes=7))
    seen: list[TeacherProgress] = []

    def stop_in_the_second_epoch(at: TeacherProgress) -> bool:
        seen.append(at)
        return (at.epoch, at.stage) != (2, "train")

    at_once = result(train_teacher(task(dataset, tmp_path / "whole", train)))
    first = task(dataset, tmp_path / "parts", train, slice_s=1e-6)
    stopped = train_teacher(first, stop_in_the_second_epoch)
    assert (stopped.outcome, seen[-1].iteration) == (Outcome.STOPPED, 1)
    assert not (tmp_path / "parts" / "attempt-1" / "report.json").exists()
    second = task(dataset, tmp_path / "parts", train, attempt=2, slice_s=1e-6)
    resumed = result(train_teacher(second, noting(seen)))

    assert resumed.weights.sha256 == at_once.weights.sha256
    assert [epoch.losses for epoch in resumed.epochs] == [epoch.losses for epoch in at_once.epochs]
    assert {at.notes for at in seen} == {seen[0].notes}, "an attempt that resumes has them too"


def test_a_mask_head_is_left_out_since_boxes_cannot_train_it(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    described_mask = described("Swin, Mask R-CNN", num_classes=7)
    file = tmp_path / "mask.safetensors"
    save_file(assemble_mmdet(described_mask).state_dict(), file)
    seen: list[TeacherProgress] = []
    train = {
        "mmdet": {
            "config": described_mask.config,
            "options": dict(described_mask.options),
            "checkpoint": file,
        },
        "training": {**TRAINING, "epochs": 1},
    }

    report = train_teacher(task(dataset, tmp_path, train), noting(seen))

    found = result(report)
    assert seen[0].notes[0] == (
        f"the mask head of config {described_mask.config} is left out: boxes train no masks"
    )
    loaded = load_teacher(TeacherRef(detector=found.detector, weights=found.weights))
    assert not loaded.roi_head.with_mask


@pytest.mark.parametrize(
    ("source", "cause", "reason"),
    [
        ({"config": "no_such_config"}, None, "mmdet ships no config 'no_such_config'"),
        (
            {"config": "detr_r50_8xb2-150e_coco"},
            None,
            "config detr_r50_8xb2-150e_coco describes a DETR with the head DETRHead; a teacher has",
        ),
        (
            {"config": SWIN.config, "checkpoint": "/no/such/file.pth"},
            FailureCause.BAD_CHECKPOINT,
            "CheckpointError: /no/such/file.pth cannot be read",
        ),
    ],
)
def test_what_cannot_be_trained_is_reported_with_its_reason(
    dataset: DatasetSpec,
    tmp_path: Path,
    source: dict[str, Any],
    cause: FailureCause | None,
    reason: str,
) -> None:
    report = train_teacher(task(dataset, tmp_path, {"mmdet": source, "training": TRAINING}))

    assert (report.outcome, report.cause, report.result) == (Outcome.FAILED, cause, None)
    assert report.reason.startswith(reason)
    assert "Traceback" not in report.reason


def test_a_checkpoint_of_another_backbone_is_refused(dataset: DatasetSpec, tmp_path: Path) -> None:
    file = checkpoint(tmp_path, num_classes=4)
    wider = {**SWIN.options, "backbone.embed_dims": 16, "neck.in_channels": [32, 64, 128]}
    train = {"mmdet": {"config": SWIN.config, "options": wider, "checkpoint": file}}

    report = train_teacher(task(dataset, tmp_path, {**train, "training": TRAINING}))

    assert report.cause is FailureCause.BAD_CHECKPOINT
    assert f"{file} does not fit config {SWIN.config}: of another shape: backbone." in report.reason


def test_bn_l1_needs_bn_layers(dataset: DatasetSpec, tmp_path: Path) -> None:
    report = train_teacher(task(dataset, tmp_path, swin(None, bn_l1=1e-5)))

    assert report.reason == (
        "training.bn_l1 needs a backbone with BN layers, and SwinTransformer has none; set bn_l1 "
        "to 0"
    )
