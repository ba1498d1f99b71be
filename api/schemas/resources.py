"""The responses of the API about data sets, pools, teachers and searches."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import Epoch, File, Measurement, Schema
from searchd.domain.detector import Detector as DetectorValue
from searchd.domain.detector import MmdetDetector
from searchd.domain.lifecycle import (
    DatasetStatus,
    Desired,
    PoolStatus,
    SearchStatus,
    TeacherStatus,
    TrialStatus,
)
from searchd.domain.subnet import Subnet
from searchd.messages.reports import FeatureLevel, TeacherProgress
from searchd.spec import (
    BudgetSpec,
    DatasetSpec,
    PoolSpec,
    SearchSpec,
    Spec,
    TargetSpec,
    TeacherSpec,
)
from searchd.spec.base import Name


class Dataset(Schema):
    """A registered data set."""

    id: str
    """Id of the data set, assigned by the service."""
    name: str
    """Name of the data set, chosen by the user."""
    owner: str | None
    """Name of the token that created the data set; null without authentication."""
    status: DatasetStatus
    """State of the check of its files: checking, ready or failed."""
    status_reason: str
    """Why the data set has this status, in words."""
    spec: DatasetSpec
    """Spec that was submitted for the data set."""
    summary: dict[str, Any] | None
    """Class names, counts, digests and statistics of the last check that passed; null before."""
    created_at: datetime
    """Time when the data set was registered, in UTC."""
    finished_at: datetime | None
    """Time when the check ended, in UTC; null before."""
    archived_at: datetime | None
    """Time when a user archived the data set, in UTC; null while it is listed."""


class DatasetStatistics(Schema):
    """The statistics of a checked data set."""

    classes: dict[str, dict[str, int]]
    """Number of objects of each class, by split; crowds are not counted."""
    splits: dict[str, dict[str, Any]]
    """Numbers of images, objects and masks, sizes and aspect ratios of boxes, and sizes of images,
    by split; lengths are in pixels."""
    duplicates: dict[str, int]
    """Numbers of images that are in two splits, under two ids, or copies within a split."""


class SampleObject(Schema):
    """An object of a sample image."""

    class_name: str
    """Name of the class of the object."""
    bbox: tuple[float, float, float, float]
    """Box as x, y, width and height, in pixels of the image as shown."""


class DatasetSample(Schema):
    """A sample image of a checked data set."""

    number: int
    """Number of the sample, from 0; part of the path of its drawing."""
    split: str
    """Split that the image is in: train, validation or test."""
    path: str
    """Path of the image file on the machines of the service."""
    width: int
    """Width of the image as shown, in pixels."""
    height: int
    """Height of the image as shown, in pixels."""
    num_objects: int
    """Number of objects of the image; crowds are not counted."""
    objects: list[SampleObject]
    """Objects of the image, at most the first 300."""


class DatasetSamples(Schema):
    """The sample images of a checked data set."""

    samples: list[DatasetSample]
    """Images with objects, spread evenly over each split."""


class DatasetChange(Spec):
    """A change of a data set."""

    name: Name
    """New name of the data set; everything that uses the data set then refers to it."""


class PoolProgress(Schema):
    """The progress of a pool's training; the finished epochs are `epochs` of the pool."""

    pool: str
    """Id of the pool, assigned by the service."""
    attempt: int
    """Number of the attempt at the training, from 1."""
    phase: str
    """Name of the current phase in the spec of the pool."""
    epoch: int
    """Number of the current epoch of this phase, from 1."""
    num_epochs: int
    """Number of all epochs of this phase."""
    iteration: int
    """Number of iterations done in this epoch, or of subnets evaluated."""
    num_iterations: int
    """Number of iterations of an epoch, or of subnets to evaluate."""
    losses: dict[str, float]
    """Mean of each loss term over the current epoch so far."""
    stage: str = "train"
    """Current step of the training: start (wait for workers), train or evaluate (measure
    subnets, at the end of a phase)."""
    seconds_left: float | None = None
    """Estimated seconds until all phases are trained, from the speed of this phase; null while it
    is not known."""


class Pool(Schema):
    """An elastic teacher pool."""

    id: str
    """Id of the pool, assigned by the service."""
    name: str
    """Name of the pool, chosen by the user."""
    owner: str | None
    """Name of the token that created the pool; null without authentication."""
    status: PoolStatus
    """State of the training of the pool, for example training, ready or failed."""
    status_reason: str
    """Why the pool has this status, in words."""
    dataset_id: str
    """Id of the data set that the pool is trained on."""
    spec: PoolSpec
    """Spec that was submitted for the pool."""
    progress: PoolProgress | None
    """Phase, epoch and losses of the running training; null before it starts."""
    created_at: datetime
    """Time when the pool was submitted, in UTC."""
    started_at: datetime | None
    """Time when the training first started, in UTC; null before."""
    finished_at: datetime | None
    """Time when the training ended, in UTC; null before."""
    archived_at: datetime | None
    """Time when a user archived the pool, in UTC; null while it is listed."""


class SubnetMeasurement(Measurement):
    """A measurement of a subnet of a trained pool."""

    subnet: Subnet
    """Genes of the measured subnet: depths, widths and neck channels."""
    params: int
    """Number of parameters of the whole detector."""


class PoolEpoch(Epoch):
    """The metrics of one training epoch of a pool."""

    subnets: list[SubnetMeasurement]
    """Measurements of the largest and the smallest subnet of the phase as they were after this
    epoch; empty of all but the last epoch of a phase, and of the last phase."""


class PoolDetails(Pool):
    """A pool with the results of its training."""

    desired: Desired
    """State that the user requested: run, pause, cancel or kill."""
    supernet: File | None
    """Stored weights of the supernet; null until the pool is ready."""
    subnets: list[SubnetMeasurement]
    """Measurements of the subnets that were evaluated after training."""
    epochs: list[PoolEpoch]
    """Metrics of every finished training epoch, in the order of the phases."""


class Teacher(Schema):
    """A registered teacher. Its measurement is present once its status is ready."""

    id: str
    """Id of the teacher, assigned by the service."""
    name: str
    """Name of the teacher, chosen by the user."""
    owner: str | None
    """Name of the token that created the teacher; null without authentication."""
    status: TeacherStatus
    """State of the training or evaluation of the teacher, for example training or ready."""
    status_reason: str
    """Why the teacher has this status, in words."""
    dataset_id: str
    """Id of the data set that the teacher is evaluated on."""
    pool_id: str | None
    """Id of the pool that contains the teacher; null if the teacher is no subnet."""
    spec: TeacherSpec
    """Spec that was submitted for the teacher."""
    source: str
    """Origin of the teacher in words, for example "subnet ... of pool ..." or "mmdet ..."."""
    detector: DetectorValue | MmdetDetector | None
    """Detector without its weights, or the mmdet config; null until the teacher is ready."""
    kind: str | None
    """Family of the detector, or name of its mmdet config; null until the teacher is ready."""
    params: int | None
    """Number of parameters of the whole detector; null until the teacher is ready."""
    measurement: Measurement | None
    """Measurement on the validation split at the resolution of the spec; null until ready."""
    levels: list[FeatureLevel]
    """Levels of the detector's neck, finest first; empty until the teacher is ready."""
    weights: File | None
    """Stored weights of the teacher; null until the teacher is ready."""
    progress: TeacherProgress | None
    """Epoch and losses of the training; null before it starts, and for teachers that exist
    already."""
    created_at: datetime
    """Time when the teacher was registered, in UTC."""
    started_at: datetime | None
    """Time when the training first started, in UTC; null before, and without training."""
    finished_at: datetime | None
    """Time when the evaluation ended, in UTC; null before."""
    archived_at: datetime | None
    """Time when a user archived the teacher, in UTC; null while it is listed."""


class TeacherDetails(Teacher):
    """A teacher with the epochs of its training."""

    desired: Desired
    """State that the user requested: run, pause, cancel or kill."""
    epochs: list[Epoch]
    """Metrics of every finished training epoch; empty for teachers that are not trained."""


class Extension(Spec):
    """More budget for a search. A field that is not given keeps its value."""

    max_trials: int | None = Field(default=None, ge=1)
    """New largest number of search trials, those already done included."""
    patience: int | None = Field(default=None, ge=1)
    """New number of consecutive search trials without a better score after which the search
    ends."""
    max_worker_hours: float | None = Field(default=None, gt=0)
    """New largest number of worker-hours, those already spent included; null removes the limit."""
    max_gpu_hours: float | None = Field(default=None, gt=0)
    """New largest number of GPU-hours, those already spent included; null removes the limit."""
    max_wall_hours: float | None = Field(default=None, gt=0)
    """New largest number of hours since the search first started; null removes the limit."""
    target: TargetSpec | None = None
    """New AP and MACs of a detector that ends the search; null removes the target."""


class Search(Schema):
    """A search."""

    id: str
    """Id of the search, assigned by the service."""
    name: str
    """Name of the search, chosen by the user."""
    owner: str | None
    """Name of the token that created the search; null without authentication."""
    status: SearchStatus
    """State of the search, for example queued, running or succeeded."""
    status_reason: str
    """Why the search has this status, in words."""
    dataset_id: str
    """Id of the data set that students are trained on."""
    pool_id: str | None
    """Id of the pool whose subnets are teachers; null if no teacher is a subnet."""
    spec: SearchSpec
    """Spec that was submitted for the search."""
    created_at: datetime
    """Time when the search was submitted, in UTC."""
    started_at: datetime | None
    """Time when the search first started, in UTC; null before."""
    finished_at: datetime | None
    """Time when the search ended, in UTC; null before."""
    archived_at: datetime | None
    """Time when a user archived the search, in UTC; null while it is listed."""


class SearchDetails(Search):
    """A search with its budget and the state of its trials."""

    desired: Desired
    """State that the user requested: run, pause, cancel or kill."""
    budget: BudgetSpec
    """Budget in force: that of the spec, or the one that the search was extended to."""
    trials: dict[TrialStatus, int]
    """Number of trials in each status, base and controls included."""
    best_trial_id: str | None
    """Id of the trial with the best score so far, among search trials and finishing trainings; null
    before the first score."""
    best_score: float | None
    """Score of that trial, in the unit of AP; null before the first score."""
    teachers_warning: str | None
    """Why the teachers will hardly help, with what to do: none that was measured before the first
    search trial exceeds the AP of the base by a margin. Null if one does, or is not known yet."""
