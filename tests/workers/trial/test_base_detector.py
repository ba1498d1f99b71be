"""A search may start from a trained detector, which is fine-tuned if its classes differ."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from detection.build import Student, build_detector
from detection.data.shapes import make_shapes
from detection.export import export
from detection.mmdet.config import build_config, model_config
from searchd.domain.architecture import preset
from searchd.domain.detector import MmdetDetector
from searchd.domain.errors import CheckpointError
from searchd.domain.lifecycle import FailureCause
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Outcome, Proposal, Train, TrialRole
from searchd.messages.tasks import LoadedBase, TrialTask
from searchd.spec import DatasetSpec, HeadSpec, MmdetSpec, PretrainedSpec, ScoreSpec, TrainingSpec
from searchd.spec.codecs import DETECTOR
from workers.trial.base_detector import load_base
from workers.trial.run import run_trial

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

CONFIG = "retinanet_r18_fpn_1x_coco"
OPTIONS = {
    "backbone.base_channels": 8,
    "neck.in_channels": [8, 16, 32, 64],
    "neck.out_channels": 16,
    "bbox_head.in_channels": 16,
    "bbox_head.feat_channels": 24,
    "bbox_head.stacked_convs": 2,
}
HEAD = HeadSpec(family="retinanet", neck_channels=16, tower_channels=24, tower_convs=2)
SIZE = Resolution(64, 64)
CLASSES = ("circle", "square", "triangle", "cross")
"""Classes of the data set."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    described = MmdetDetector(config=CONFIG, num_classes=4, options=OPTIONS)
    path = tmp_path_factory.mktemp("mmdet") / "model.safetensors"
    save_file(build_config(model_config(described)).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, seed=0, num_train=2, num_validation=2, image_size=64)


def loaded(checkpoint: Path, **head: Any) -> LoadedBase:
    mmdet = MmdetSpec(config=CONFIG, checkpoint=checkpoint, options=OPTIONS)
    return LoadedBase(mmdet=mmdet, head=HEAD.model_copy(update=head))


def task(base: LoadedBase, dataset: DatasetSpec, folder: Path) -> TrialTask:
    proposal = Proposal(
        role=TrialRole.BASE,
        number=0,
        parent=None,
        change=Train(),
        teacher=None,
        seed=1,
        completed_before=0,
    )
    return TrialTask(
        search="s-1",
        proposal=proposal,
        attempt=1,
        dataset=dataset,
        loaded_base=base,
        training=TrainingSpec(epochs=1, resolutions=(SIZE,)),
        score=ScoreSpec(base_resolution=SIZE),
        evaluated_at=(SIZE,),
        artifacts=str(folder),
    )


def test_loaded_base_is_evaluated_and_stored_as_it_was(
    checkpoint: Path, dataset: DatasetSpec, tmp_path: Path
) -> None:
    report = run_trial(task(loaded(checkpoint), dataset, tmp_path))

    assert report.outcome is Outcome.SUCCEEDED, report.reason
    assert report.epochs == ()
    assert report.notes == (
        f"{checkpoint} does not name its 4 classes: they are taken to be those of the data set, in "
        "the same order",
    )
    assert [evaluation.resolution for evaluation in report.evaluations] == [SIZE]
    assert report.detector == HEAD.detector(preset("resnet18", base_channels=8), 4)
    before, after = load_file(checkpoint), load_file(tmp_path / "student.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name]) for name in before)


def stored_with_classes(path: Path, names: tuple[str, ...]) -> Path:
    """A checkpoint of mmengine that was trained on these classes."""
    torch.manual_seed(0)
    described = MmdetDetector(config=CONFIG, num_classes=len(names), options=OPTIONS)
    weights = build_config(model_config(described)).state_dict()
    meta = {"dataset_meta": {"classes": names}}
    torch.save({"meta": meta, "state_dict": weights}, path)
    return path


def test_base_of_other_classes_keeps_rows_by_name_and_is_fine_tuned(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    path = stored_with_classes(tmp_path / "epoch_9.pth", ("Square", "bird", "circle"))

    report = run_trial(task(loaded(path), dataset, tmp_path))

    assert report.outcome is Outcome.SUCCEEDED, report.reason
    assert len(report.epochs) == 1
    assert report.detector == HEAD.detector(preset("resnet18", base_channels=8), 4)
    classes = (
        "2 classes keep their rows (circle, square), 2 are new (triangle, cross), 1 of the "
        "checkpoint are dropped"
    )
    assert report.notes[0].endswith("tensors are kept as they are")
    assert report.notes[1:] == (
        f"bbox_head.retina_cls.weight, 27 -> 36 rows: {classes}",
        f"bbox_head.retina_cls.bias, 27 -> 36 rows: {classes}",
    )


def test_base_of_the_same_classes_can_be_fine_tuned(tmp_path: Path) -> None:
    path = stored_with_classes(tmp_path / "epoch_9.pth", CLASSES)

    as_it_is = load_base(loaded(path), CLASSES)
    tuned = load_base(loaded(path).model_copy(update={"fine_tune": True}), CLASSES)

    assert not as_it_is.trains
    assert tuned.trains
    assert as_it_is.notes == tuned.notes == ()


def test_base_of_other_classes_is_not_left_untrained(tmp_path: Path) -> None:
    path = stored_with_classes(tmp_path / "epoch_9.pth", ("bird", "cat"))

    with pytest.raises(CheckpointError, match=r"has 2 classes that are not the 4 of the data set"):
        load_base(loaded(path).model_copy(update={"fine_tune": False}), CLASSES)


def test_base_from_an_export_is_used_by_the_same_rules(tmp_path: Path) -> None:
    student = Student(
        detector=(detector := HEAD.detector(preset("resnet18", base_channels=8), 4)),
        weights=build_detector(detector).state_dict(),
    )
    export(student, tmp_path, class_names=CLASSES, resolution=SIZE)
    described = {"detector": DETECTOR.dump_python(detector, mode="json"), "score": 0.3}
    (tmp_path / "detector.json").write_text(json.dumps(described))

    same = load_base(LoadedBase(export=tmp_path, head=HEAD), CLASSES)
    other = load_base(LoadedBase(export=tmp_path, head=HEAD), ("circle", "bird"))

    assert not same.trains
    assert all(
        torch.equal(same.student.weights[name], value) for name, value in student.weights.items()
    )
    assert other.trains
    assert other.student.detector.num_classes == 2
    assert torch.equal(
        other.student.weights["bbox_head.retina_cls.bias"].view(9, 2)[:, 0],
        student.weights["bbox_head.retina_cls.bias"].view(9, 4)[:, 0],
    )


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no detector.json; give a folder that `searchd"):
        load_base(LoadedBase(export=tmp_path, head=HEAD), CLASSES)
    (tmp_path / "detector.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"detector.json does not describe a detector"):
        load_base(LoadedBase(export=tmp_path, head=HEAD), CLASSES)


def test_unreadable_checkpoint_fails_as_such(dataset: DatasetSpec, tmp_path: Path) -> None:
    report = run_trial(task(loaded(tmp_path / "none.pth"), dataset, tmp_path))

    assert report.cause is FailureCause.BAD_CHECKPOINT
    assert "none.pth cannot be read" in report.reason


def test_training_of_a_new_base_starts_from_a_pretrained_backbone(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    detector = HEAD.detector(preset("resnet18", base_channels=8), 4)
    backbone = build_detector(detector).backbone.state_dict()
    save_file(backbone | {"fc.bias": torch.ones(3)}, tmp_path / "resnet.safetensors")
    started = task(loaded(tmp_path), dataset, tmp_path).model_copy(
        update={
            "loaded_base": None,
            "detector": detector,
            "pretrained": PretrainedSpec(file=tmp_path / "resnet.safetensors"),
            "training": TrainingSpec(epochs=1, learning_rate=1e-12, resolutions=(SIZE,)),
        }
    )

    report = run_trial(started)

    assert report.outcome is Outcome.SUCCEEDED, report.reason
    assert len(report.epochs) == 1
    num = len(backbone)
    assert report.notes == (
        f"{num} of {num} tensors of the backbone are those of {tmp_path / 'resnet.safetensors'}",
    )
    after = load_file(tmp_path / "student.safetensors")
    assert torch.allclose(after["backbone.conv1.weight"], backbone["conv1.weight"])


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"family": "fcos"}, "family fcos in the search, retinanet in the checkpoint"),
        ({"neck_channels": 32}, "neck_channels 32 in the search, 16 in the checkpoint"),
        ({"tower_convs": 4}, "tower_convs 4 in the search, 2 in the checkpoint"),
        ({"anchor_scale": 2.0}, r"anchor_scale 2.0 in the search, 4.0 in the checkpoint"),
    ],
)
def test_other_head_than_the_searchs_is_refused(
    head: dict[str, Any], message: str, checkpoint: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_base(
            LoadedBase(
                mmdet=loaded(checkpoint).mmdet,
                head=HeadSpec.model_validate(HEAD.model_dump() | head),
            ),
            CLASSES,
        )
