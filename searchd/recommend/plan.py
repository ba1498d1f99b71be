"""Chooses the sizes of detectors and the lengths of trainings that fit a time budget."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import SubnetSpace
from searchd.recommend.numbers import (
    PUBLISHED_ANCHOR_SCALE,
    PUBLISHED_ROI_SCALE,
    DataFacts,
    Machine,
    anchor_scale,
    batch_size,
    duration,
    resolutions,
    sampled_rois,
    smaller,
)

Seconds = Callable[[Detector, Resolution], float]
"""Seconds per training image of a detector at a resolution on the machine, without a teacher."""

PREPARATION_SHARE, TRIALS_SHARE, FINISH_SHARE, CONTROLS_SHARE = 0.4, 0.3, 0.12, 0.15
"""Shares of the time budget: base and pool, which train side by side, the trials, the finishing
trainings, the controls. The rest is for starting, evaluation and storing. Finishing two or three
detectors takes as long as a third of the trials: that is what search gives up for it."""
LEAST_VIEWS, LEAST_VIEWS_LOADED = 16_000, 3_000
"""Number of images, repetitions included, below which a training from scratch, and one from loaded
weights, hardly learns; a size of detector that cannot see as many is too expensive."""
MOST_VIEWS, MOST_VIEWS_LOADED = 60_000, 12_000
"""Number of images, repetitions included, beyond which small data sets gain little."""
MOST_EPOCHS_OF_LARGE_SETS = 24
"""Epochs of a data set with more train images than `MOST_VIEWS` (mmdet's 2x schedule)."""
TEACHER_PASS = 0.4
"""Cost of the teacher in a step, as a share of the teacher's own training step: a forward pass."""
TRIAL_OVERHEAD_S = 8.0
"""Seconds that a trial spends outside training and evaluation: loading, latency, storing."""
LEAST_TRIALS, ENOUGH_TRIALS, MOST_TRIALS = 6, 15, 60
"""Smallest and largest numbers of trials, and the one up to which trials are made shorter than the
paper's to have more of them."""
STEPS_PER_TRIAL = 96
"""Number of training steps below which a trial tells little of its detector."""
PAPER_EPOCHS_PER_TRIAL, MOST_EPOCHS_PER_TRIAL = 3, 12
TYPICAL_LINEAGE = 4
"""Number of trials from the base to the best detector; as many controls follow a search."""
MOST_FINISHED = 3
FINISH_PER_TRIAL, LEAST_FINISH_PER_TRIAL = 4, 2
"""Epochs of a finishing training over those of a trial: 12 over the paper's 3, and the least for
which another detector is finished too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size of a student, and of the head that it shares with its teachers."""

    backbone: str
    base_channels: int
    neck_channels: int
    head_channels: int
    num_proposals: int
    most_sampled_rois: int


GPU_SIZES = (
    Size(
        backbone="resnet50",
        base_channels=64,
        neck_channels=256,
        head_channels=1024,
        num_proposals=1000,
        most_sampled_rois=512,
    ),
    Size(
        backbone="resnet18",
        base_channels=64,
        neck_channels=256,
        head_channels=1024,
        num_proposals=1000,
        most_sampled_rois=512,
    ),
)
CPU_SIZES = tuple(
    Size(
        backbone="resnet18",
        base_channels=channels,
        neck_channels=channels,
        head_channels=head,
        num_proposals=100,
        most_sampled_rois=128,
    )
    for channels, head in ((64, 256), (32, 256), (16, 128), (8, 128))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSize:
    """The largest depths of a pool, by which its space is described."""

    depths: tuple[tuple[int, ...], ...]
    widths: tuple[float, ...]


POOL_SIZES = (
    PoolSize(depths=((2, 3), (2, 3, 4), tuple(range(2, 24)), (2, 3)), widths=(1.0, 1.25, 1.5)),
    PoolSize(depths=((2, 3), (2, 3, 4), (2, 3, 4, 5, 6), (2, 3)), widths=(1.0, 1.25, 1.5)),
    PoolSize(depths=((1, 2), (1, 2), (1, 2), (1,)), widths=(1.0, 1.5)),
    PoolSize(depths=((1, 2), (1, 2), (1, 2), (1,)), widths=(0.5, 1.0)),
)
"""Spaces of teachers, largest first; the first is that of Joint-DetNAS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is trained, for how long, and what it costs."""

    student: Detector
    size: Size | None
    """None if the base comes from a checkpoint."""
    pool: PoolSize
    pool_base_channels: int
    resolution: Resolution
    batch: int
    base_epochs: int
    pool_epochs: int
    trial_epochs: int
    trials: int
    base_s: float
    """Expected seconds of training the base."""
    pool_s: float
    trial_s: float
    finished: int
    """Number of detectors that are finished."""
    finish_epochs: int
    finish_s: float
    """Expected seconds of one finishing training."""
    notes: tuple[str, ...]
    """What the user should know before starting."""

    @property
    def trained_resolutions(self) -> tuple[Resolution, ...]:
        """The resolutions of training and evaluation, smallest first."""
        return tuple(sorted({smaller(self.resolution), self.resolution}, key=lambda r: r.area))


def make_plan(
    data: DataFacts,
    machine: Machine,
    budget_s: float,
    seconds: Seconds,
    *,
    loaded: Detector | None,
    pretrained: Collection[str],
    base_is_trained: bool,
) -> Plan:
    """Choose the largest sizes whose trainings fit the budget.

    Args:
        data: The data set.
        machine: The machine.
        budget_s: Time for everything, in seconds.
        seconds: The speed of the machine.
        loaded: Detector of the checkpoint that is the base; None for a new one.
        pretrained: Names of the backbones of which pretrained weights are there; one of them is
            chosen for a new base, unless there is none.
        base_is_trained: Whether the base is trained at all; False for a checkpoint of the same
            classes, which is evaluated as it is.
    """
    if loaded is not None:
        rois = sampled_rois(data, most=_sizes(machine, ())[0].most_sampled_rois)
        loaded = replace(loaded, sampled_rois=min(loaded.sampled_rois, rois))
    warm = loaded is not None or bool(pretrained)
    least, most = (LEAST_VIEWS_LOADED, MOST_VIEWS_LOADED) if warm else (LEAST_VIEWS, MOST_VIEWS)
    most = max(most, MOST_EPOCHS_OF_LARGE_SETS * data.train_images)
    preparation_s = PREPARATION_SHARE * budget_s
    batch = batch_size(data, most=16 if machine.gpus else 8)
    notes = []
    size, student, resolution, base_image_s = _student(
        data, _sizes(machine, pretrained), seconds, preparation_s / least, loaded
    )
    if base_is_trained and base_image_s > preparation_s / least:
        notes.append(
            f"The budget is short for this machine: {duration(preparation_s)} are for the base, "
            f"and {least} training images, repetitions included, take "
            f"{duration(least * base_image_s)}. Expect a low AP; a longer --budget or a GPU helps."
        )
    base_epochs = _epochs(preparation_s, base_image_s, data, most)
    pool_channels = student.architecture.stem_channels
    pool, pool_image_s = _pool(student, pool_channels, resolution, seconds, preparation_s / least)
    pool_epochs = max(3, _epochs(preparation_s, pool_image_s, data, most))
    epoch_s = data.train_images * (base_image_s + TEACHER_PASS * pool_image_s)
    rest_s = 2 * data.validation_images * base_image_s / 3 + TRIAL_OVERHEAD_S
    trial_epochs, trials = _trials(data, machine, budget_s, batch, epoch_s, rest_s)
    trial_s = trial_epochs * epoch_s + rest_s
    finished, finish_epochs = _finish(machine, budget_s, trial_epochs, epoch_s, rest_s)
    if trials < ENOUGH_TRIALS:
        notes.append(
            f"Only {trials} trials of {duration(trial_s)} are made; hill climbing is more likely "
            f"to gain with {ENOUGH_TRIALS} or more."
        )
    return Plan(
        student=student,
        size=size,
        pool=pool,
        pool_base_channels=pool_channels,
        resolution=resolution,
        batch=batch,
        base_epochs=base_epochs,
        pool_epochs=pool_epochs,
        trial_epochs=trial_epochs,
        trials=trials,
        base_s=base_epochs * data.train_images * base_image_s if base_is_trained else 0.0,
        pool_s=pool_epochs * data.train_images * pool_image_s,
        trial_s=trial_s,
        finished=finished,
        finish_epochs=finish_epochs,
        finish_s=finish_epochs * epoch_s + rest_s,
        notes=tuple(notes),
    )


def pool_space(size: PoolSize, base_channels: int, neck_channels: int) -> SubnetSpace:
    """Return the space of teachers of this size."""
    return SubnetSpace(
        depths=size.depths,
        widths=(size.widths,) * 4,
        neck_channels=(neck_channels,),  # so that students can inherit it
        num_resolutions=2,
        base_channels=base_channels,
        channel_divisor=channel_divisor(base_channels),
    )


def channel_divisor(base_channels: int) -> int:
    """Return the divisor of channel numbers: 8 as published, less for narrow networks."""
    return 8 if base_channels >= 32 else 4


def _sizes(machine: Machine, pretrained: Collection[str]) -> Sequence[Size]:
    sizes = GPU_SIZES if machine.gpus else CPU_SIZES
    if not pretrained:
        return sizes
    published = sizes[0]  # weights fit the published width only
    return tuple(
        replace(published, backbone=backbone)
        for backbone in ("resnet50", "resnet18")
        if backbone in pretrained
    )


def _student(
    data: DataFacts,
    sizes: Sequence[Size],
    seconds: Seconds,
    affordable_s: float,
    loaded: Detector | None,
) -> tuple[Size | None, Detector, Resolution, float]:
    """Return the first size and resolution that is affordable per image, else the cheapest.

    Resolutions are given up last: what is too small to be seen cannot be learned.
    """
    found = []
    for resolution in resolutions(data):
        for size in [None] if loaded is not None else sizes:
            student = loaded or _new(data, size, resolution)  # type: ignore[arg-type]  # one of them
            image_s = seconds(student, resolution)
            found.append((size, student, resolution, image_s))
            if image_s <= affordable_s:
                return found[-1]
    return min(found, key=lambda each: each[3])


def _new(data: DataFacts, size: Size, resolution: Resolution) -> Detector:
    scale = anchor_scale(data, resolution)
    return Detector(
        architecture=preset(size.backbone, base_channels=size.base_channels),
        num_classes=data.classes,
        neck_channels=size.neck_channels,
        head_channels=size.head_channels,
        anchor_scale=scale,
        finest_roi_scale=PUBLISHED_ROI_SCALE * scale // PUBLISHED_ANCHOR_SCALE,
        num_proposals=size.num_proposals,
        sampled_rois=sampled_rois(data, most=size.most_sampled_rois),
    )


def _pool(
    student: Detector,
    base_channels: int,
    resolution: Resolution,
    seconds: Seconds,
    affordable_s: float,
) -> tuple[PoolSize, float]:
    """Return the largest pool that can see as many images as the base must, else the smallest."""
    for size in POOL_SIZES:
        space = pool_space(size, base_channels, student.neck_channels)
        teacher = replace(
            student,
            architecture=space.architecture(space.largest),
            neck_channels=space.largest.neck_channels,
        )
        image_s = seconds(teacher, resolution)
        if image_s <= affordable_s:
            break
    return size, image_s


def _epochs(time_s: float, image_s: float, data: DataFacts, most_views: int) -> int:
    views = min(time_s / image_s, most_views)
    return max(1, int(views / data.train_images))


def _trials(
    data: DataFacts,
    machine: Machine,
    budget_s: float,
    batch: int,
    epoch_s: float,
    rest_s: float,
) -> tuple[int, int]:
    """Return epochs per trial, and number of trials."""
    steps_per_epoch = math.ceil(data.train_images / batch)
    least = min(math.ceil(STEPS_PER_TRIAL / steps_per_epoch), MOST_EPOCHS_PER_TRIAL)
    for epochs in range(max(PAPER_EPOCHS_PER_TRIAL, least), least - 1, -1):
        trial_s = epochs * epoch_s + rest_s
        trials = int(TRIALS_SHARE * budget_s * machine.trials_in_flight / trial_s)
        if trials >= ENOUGH_TRIALS:
            break
    return epochs, min(max(trials, LEAST_TRIALS), MOST_TRIALS)


def _finish(
    machine: Machine, budget_s: float, trial_epochs: int, epoch_s: float, rest_s: float
) -> tuple[int, int]:
    """Return the number of detectors that are finished, and the epochs of each: at least those of a
    trial."""
    for detectors in range(MOST_FINISHED, 0, -1):
        rounds = math.ceil(detectors / machine.trials_in_flight)
        epochs = int((FINISH_SHARE * budget_s / rounds - rest_s) / epoch_s)
        if epochs >= LEAST_FINISH_PER_TRIAL * trial_epochs:
            break
    return detectors, min(max(epochs, trial_epochs), FINISH_PER_TRIAL * trial_epochs)
