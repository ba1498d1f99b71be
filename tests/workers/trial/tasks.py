"""Tasks of small trials on 12 images of 64 pixels: a detector's first training, and a child's."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from searchd.domain.architecture import preset
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Artifact, Change, Proposal, Train, TrialRole
from searchd.messages.reports import Report
from searchd.messages.tasks import Inherited, PoolRef, TrialTask
from searchd.spec import DatasetSpec, HeadSpec, MethodsSpec, ScoreSpec, SpaceSpec, TrainingSpec

SIZE = Resolution(64, 64)
HEAD = HeadSpec(
    neck_channels=8, head_channels=32, anchor_scale=4.0, finest_roi_scale=16, num_proposals=50
)
SPACE = SpaceSpec(
    depths=((1, 2), (1,), (1,), (1,)),
    widths=((1.0,),) * 4,
    neck_channels=(8, 12),
    resolutions=(SIZE,),
    base_channels=8,
)
TRAINING = TrainingSpec(epochs=2, batch_size=4, learning_rate=0.02, resolutions=(SIZE,), bn_l1=1e-5)
ONE_EPOCH = TRAINING.model_copy(update={"epochs": 1})
BACKBONE = preset("resnet18", base_channels=8)


def proposal(
    change: Change, role: TrialRole = TrialRole.SEARCH, teacher: Subnet | None = None
) -> Proposal:
    return Proposal(
        role=role,
        number=0 if role is TrialRole.BASE else 3,
        parent=None if role is TrialRole.BASE else "base",
        change=change,
        teacher=teacher,
        seed=1,
        completed_before=0,
    )


def base_task(dataset: DatasetSpec, folder: Path, **change: Any) -> TrialTask:
    """A base that is trained for two epochs of three steps, and evaluated at two resolutions."""
    values = {
        "search": "s-1",
        "proposal": proposal(Train(), TrialRole.BASE),
        "attempt": 1,
        "dataset": dataset,
        "detector": HEAD.detector(BACKBONE, num_classes=4),
        "training": TRAINING,
        "score": ScoreSpec(base_resolution=SIZE),
        "evaluated_at": (SIZE, Resolution(48, 48)),
        "artifacts": str(folder / "attempt-1"),
    }
    return TrialTask.model_validate({**values, **change})


def child_task(
    dataset: DatasetSpec, base: Report, pool: PoolRef, folder: Path, change: Change, **values: Any
) -> TrialTask:
    """A child of the base that the pool's largest subnet teaches.

    Args:
        values: Fields of the task that differ.
    """
    task = TrialTask(
        search="s-1",
        proposal=proposal(change, teacher=SPACE.space.largest),
        attempt=1,
        dataset=dataset,
        inherited=Inherited(detector=base.detector, student=artifact(base, "student")),
        pool=pool,
        training=TRAINING,
        distillation=MethodsSpec(),
        score=ScoreSpec(base_resolution=SIZE),
        evaluated_at=(SIZE,),
        artifacts=str(folder),
    )
    return task.model_copy(update=values)


def artifact(report: Report, name: str) -> Artifact:
    return next(a for a in report.artifacts if a.name == name)


def weights(report: Report, name: str = "student") -> dict[str, torch.Tensor]:
    return load_file(artifact(report, name).uri)
