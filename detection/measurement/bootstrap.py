"""AP of many multisets of images, from matches, and the bootstrap over images.

A split is a sample of the images that a detector will see. The bootstrap draws multisets of its
images with replacement; how AP varies over them estimates how it varies over samples.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detection.measurement.matches import ClassMatches

NUM_RESAMPLES = 1000
SEED = 0
"""Seed of the resamples. Detectors measured on the same split have the same resamples, so that
their APs can be subtracted resample by resample."""
UNDEFINED_AP = -1.0
"""AP of images without objects, as in COCO."""
_RECALLS = np.linspace(0, 1, 101)
"""COCO's recalls, at which precision is averaged."""
_MAX_NUMBERS = 4_000_000
"""Number of weights of detections that are in memory at once."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def resample(
    num_images: int, *, num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> NDArray[np.int64]:
    """Draw multisets of images with replacement, each as large as the split.

    Returns:
        num_resamples x num_images: how often each image occurs in each multiset.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=num_resamples)


def resampled_ap(
    matches: Sequence[ClassMatches], *, num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> Floats:
    """Return AP of each resample of the images; equal arguments and splits have equal resamples."""
    counts = resample(len(matches[0].objects), num_resamples=num_resamples, seed=seed)
    return average_precision(matches, counts)


def average_precision(matches: Sequence[ClassMatches], counts: Ints) -> Floats:
    """Return COCO's AP of multisets of images.

    Copies of an image count as images of their own. Their equal scores do not matter: AP depends on
    precision after all detections of one score, or before a wrong one.

    Args:
        matches: The matches of each class on n images.
        counts: R x n: how often each image occurs in each multiset.

    Returns:
        R values in [0, 1]: the mean over thresholds and over classes that occur in the multiset;
        `UNDEFINED_AP` where no class does.
    """
    sums, classes = np.zeros(len(counts)), np.zeros(len(counts))
    for one in matches:
        num_objects = counts @ one.objects
        occurs = num_objects > 0
        sums[occurs] += _class_ap(one, counts[occurs], num_objects[occurs])
        classes[occurs] += 1
    return np.where(classes > 0, sums / np.maximum(classes, 1), UNDEFINED_AP)


def _class_ap(matches: ClassMatches, counts: Ints, num_objects: Ints) -> Floats:
    """Return AP of one class that occurs in every multiset, a part of the multisets at a time."""
    rows = max(1, _MAX_NUMBERS // max(1, len(matches.images)))
    found = [
        _part_ap(matches, counts[first : first + rows], num_objects[first : first + rows])
        for first in range(0, len(counts), rows)
    ]
    return np.concatenate([np.zeros(0), *found])


def _part_ap(matches: ClassMatches, counts: Ints, num_objects: Ints) -> Floats:
    weights = counts[:, matches.images].astype(np.float64)
    found = np.cumsum(weights, axis=1)
    total = np.zeros(len(counts))
    for matched, ignored in zip(matches.matched, matches.ignored, strict=True):
        counted = np.cumsum(weights * ~ignored, axis=1) if ignored.any() else found
        (right,) = np.nonzero(matched)
        hits = np.cumsum(weights[:, right], axis=1)
        total += _area(hits, counted[:, right], num_objects)
    return total / len(matches.matched)


def _area(hits: Floats, counted: Floats, num_objects: Ints) -> Floats:
    """Return the mean precision at COCO's recalls.

    Args:
        hits: R x M: number of right detections up to each right one, by descending score.
        counted: R x M: number of right and wrong ones.
        num_objects: R: number of objects, above 0.
    """
    precision = hits / (counted + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / num_objects[:, None]
    areas = np.zeros(len(hits))
    for row, (levels, values) in enumerate(zip(recall, envelope, strict=True)):
        indices = np.searchsorted(levels, _RECALLS, side="left")
        areas[row] = values[indices[indices < len(values)]].sum() / len(_RECALLS)
    return areas
