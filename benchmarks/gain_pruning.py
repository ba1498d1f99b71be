"""Rows of the table of gains that compare how channels are ranked before they are pruned."""

import math
from typing import Any

import torch
from torch import Tensor

from benchmarks.gain_bench import Workbench, training_spec
from benchmarks.gain_settings import BATCH_SIZE, PRUNED, PRUNED_TO, SEARCH, TAYLOR_IMAGES, teacher
from detection.build import Student, load_student
from detection.data.augmentations import Augmenter
from detection.data.batches import TrainingBatches
from detection.measurement.complexity import count
from detection.morphism.channel_importance import taylor_importances
from detection.morphism.prune_to_macs import prune_to_macs
from searchd.domain.actions import ChannelImportance
from searchd.domain.trial import PruneToMacs


def pruned(bench: Workbench, importance: ChannelImportance, seed: int) -> tuple[Any, float]:
    """Prune the detector `PRUNED` to `PRUNED_TO` of its MACs at once.

    Args:
        bench: Data and weights.
        importance: How channels are ranked.
        seed: Of the images that rank them by Taylor.

    Returns:
        The detector, and its MACs as a share of those before.
    """
    size = bench.data.resolution
    weights = dict(bench.teacher(PRUNED).state_dict())
    whole = Student(detector=teacher(PRUNED, bench.data), weights=weights)

    def taylor(student: Student) -> list[Tensor]:
        return _by_taylor(bench, student, seed)

    change = PruneToMacs(
        fraction=PRUNED_TO, min_channels=SEARCH.min_channels, importance=importance
    )
    found = prune_to_macs(whole, change, size, taylor=taylor)
    share = count(found.detector, size).macs / count(whole.detector, size).macs
    return load_student(found), share


def _by_taylor(bench: Workbench, student: Student, seed: int) -> list[Tensor]:
    spec = training_spec(bench.data, 1, 1.0)
    batches = TrainingBatches(
        bench.train,
        batch_size=BATCH_SIZE,
        resolutions=spec.resolutions,
        augmenter=Augmenter.of(spec),
        seed=seed,
    )
    steps = range(min(math.ceil(TAYLOR_IMAGES / BATCH_SIZE), batches.num_iterations))
    torch.manual_seed(seed)
    model = load_student(student)
    return taylor_importances(model, student.detector, map(batches.batch, steps))
