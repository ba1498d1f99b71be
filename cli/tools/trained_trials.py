"""Loads a trial's detector and its teacher as models for analyses. Imports torch.

Images, and the teacher's supernet, are read where the service says they lie, so this runs on a
machine that the workers could run on.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from api import schemas
from api.client import Client
from api.schemas.distillations import DistillationDetails
from cli.errors import fail
from detection.build import Student, load_student, predicts_masks
from detection.data.batches import Batch, fixed_batches
from detection.data.coco import CocoSplit
from detection.distillation.distiller import pair_of
from detection.distillation.sgfi import Sgfi
from elastic_pool.teacher import load_supernet
from searchd.domain.distillation_methods import MethodName
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import Artifact
from searchd.messages.files import ADAPTERS, STUDENT
from searchd.messages.tasks import PoolRef, TeacherRef
from searchd.spec import MethodsSpec, SplitSpec
from workers.teachers import build_teacher
from workers.teachers import load_teacher as load_registered
from workers.torch_settings import check_device

BATCH_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedTrial:
    """A finished trial with its detector."""

    row: schemas.TrialDetails
    run: schemas.SearchDetails | DistillationDetails
    dataset: schemas.Dataset
    model: Any
    """mmdet detector on `device`, in eval mode."""
    device: str

    @property
    def resolution(self) -> Resolution:
        """The resolution at which the trial has its best score."""
        assert self.row.best is not None  # it was evaluated
        return self.row.best.resolution

    def batches(self, split: SplitSpec, num_images: int) -> list[Batch]:
        """Load the first images of a split that contain an object, at the trial's resolution."""
        loaded = CocoSplit(split)
        usable = [i for i, record in enumerate(loaded.records) if len(record.labels)]
        found = fixed_batches(
            loaded,
            self.resolution,
            BATCH_SIZE,
            usable[:num_images],
            masks=predicts_masks(self.model),
        )
        return [batch.to(self.device) for batch in found]


def load_trial(client: Client, trial_id: str, device: str) -> TrainedTrial:
    """Load the detector that a trial trained.

    Raises:
        ApiError: There is no such trial, or it has no detector.
        InvalidValueError: `device` is cuda, and torch can use none.
    """
    check_device(device)
    detector = client.get_detector(trial_id)
    row = client.get_trial(trial_id)
    run = client.get_run(row.search_id)
    student = Student(detector=detector.detector, weights=_download(client, row.id, STUDENT))
    dataset = client.get_dataset(run.dataset_id)
    checked = dataset.spec.as_checked(dataset.summary)
    return TrainedTrial(
        row=row,
        run=run,
        dataset=dataset.model_copy(update={"spec": checked}),
        model=load_student(student).to(device).eval(),
        device=device,
    )


def load_teacher(client: Client, trial: TrainedTrial) -> Any:
    """Load the teacher of the trial: a registered one, or a subnet with the BN statistics that it
    had as the teacher.

    Raises:
        typer.Exit: It had no teacher, or several.
        ArtifactError: The stored weights are missing or damaged.
    """
    proposal, training = trial.row.proposal, trial.run.spec.trial
    teacher = trial.row.chosen_teacher or proposal.teacher
    if teacher is None:
        raise fail(f"trial {trial.row.id} was trained without a teacher")
    if isinstance(teacher, RegisteredTeacher):
        return load_registered(_teacher_ref(client.get_teacher(teacher.teacher)), trial.device)
    if not isinstance(teacher, Subnet):
        raise fail(f"trial {trial.row.id} was taught by {teacher}, not by one teacher")
    assert trial.row.detector is not None  # it has ended
    assert trial.run.pool_id is not None  # where the subnet is from
    pool = _pool(client.get_pool(trial.run.pool_id))
    supernet = load_supernet(pool, trial.row.detector.num_classes)
    return build_teacher(
        supernet,
        teacher,
        CocoSplit(trial.dataset.spec.train),
        pool=pool,
        training=training,
        seed=proposal.seed,
        device=trial.device,
    )


def load_sgfi(client: Client, trial: TrainedTrial, teacher: Any) -> Sgfi:
    """Load the adapters that SGFI trained in the trial.

    Raises:
        typer.Exit: The trial was not distilled by SGFI.
    """
    methods = {method.name: method for method in _methods(trial).methods}
    if MethodName.SGFI not in methods:
        raise fail(
            f"search {trial.run.name} distils by {', '.join(methods) or 'nothing'}; only sgfi "
            "matches levels"
        )
    pair = pair_of(
        trial.model,
        teacher,
        CocoSplit(trial.dataset.spec.train),
        max_teacher_channels=_widest_neck(client, trial),
    )
    sgfi = Sgfi.build(methods[MethodName.SGFI].parsed_options, pair)
    prefix = f"{MethodName.SGFI}."
    stored = _download(client, trial.row.id, ADAPTERS)
    sgfi.load_state_dict(
        {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
    )
    return sgfi.to(trial.device)


def _widest_neck(client: Client, trial: TrainedTrial) -> int | None:
    """Return the neck width that the adapters of the trial were built for; None: its teacher's."""
    if isinstance(trial.row.proposal.teacher, RegisteredTeacher):
        return None
    assert trial.run.pool_id is not None  # where its teacher, a subnet, is from
    return max(client.get_pool(trial.run.pool_id).spec.space.neck_channels)


def _teacher_ref(teacher: schemas.TeacherDetails) -> TeacherRef:
    assert teacher.detector is not None  # it has taught
    assert teacher.weights is not None
    weights = Artifact(**teacher.weights.model_dump(exclude={"deleted_at"}))
    return TeacherRef(detector=teacher.detector, weights=weights)


def _methods(trial: TrainedTrial) -> MethodsSpec:
    """The methods that the trial was distilled by."""
    if isinstance(trial.run, schemas.SearchDetails):
        return trial.run.spec.distillation.of_trial(trial.row.proposal.methods)
    teachers = [each.teacher for each in trial.run.stages if each.trial_id == trial.row.id]
    return trial.run.spec.methods_of(teachers[0] or "") if teachers else MethodsSpec(methods=())


def _pool(pool: schemas.PoolDetails) -> PoolRef:
    if pool.supernet is None:
        raise fail(f"pool {pool.name} is {pool.status} and has no supernet: {pool.status_reason}")
    return PoolRef(
        supernet=Artifact(**pool.supernet.model_dump(exclude={"deleted_at"})),
        space=pool.spec.space,
        head=pool.spec.head,
        bn_reset_images=pool.spec.bn_reset_images,
    )


def _download(client: Client, trial_id: str, artifact: str) -> dict[str, torch.Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        weights = client.download(trial_id, artifact, Path(folder) / "weights.safetensors")
        return load_file(weights)
