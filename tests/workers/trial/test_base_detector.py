"""A search may start from a detector that mmdet trained: it is evaluated, and not trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from detection.data.shapes import make_shapes
from detection.mmdet.config import build_config, model_config
from searchd.domain.architecture import preset
from searchd.domain.detector import MmdetDetector
from searchd.domain.errors import CheckpointError
from searchd.domain.lifecycle import FailureCause
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Outcome, Proposal, Train, TrialRole
from searchd.messages.tasks import LoadedBase, TrialTask
from searchd.spec import DatasetSpec, HeadSpec, MmdetSpec, ScoreSpec, TrainingSpec
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
        training=TrainingSpec(resolutions=(SIZE,)),
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
    assert [evaluation.resolution for evaluation in report.evaluations] == [SIZE]
    assert report.detector == HEAD.detector(preset("resnet18", base_channels=8), 4)
    before, after = load_file(checkpoint), load_file(tmp_path / "student.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name]) for name in before)


def test_checkpoint_of_other_classes_than_the_data_fails_naming_both(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    described = MmdetDetector(config=CONFIG, num_classes=7, options=OPTIONS)
    other = tmp_path / "other.safetensors"
    save_file(build_config(model_config(described)).state_dict(), other)

    report = run_trial(task(loaded(other), dataset, tmp_path))

    assert report.cause is FailureCause.DATA_ERROR
    assert "has 4 classes, but the detector has 7" in report.reason


def test_unreadable_checkpoint_fails_as_such(dataset: DatasetSpec, tmp_path: Path) -> None:
    report = run_trial(task(loaded(tmp_path / "none.pth"), dataset, tmp_path))

    assert report.cause is FailureCause.BAD_CHECKPOINT
    assert "none.pth cannot be read" in report.reason


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
            )
        )
