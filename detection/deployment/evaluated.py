"""AP of an exported file on a data set, by the file's own runtime."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from detection.data.coco import CocoSplit
from detection.deployment.check import SplitAps, detections, inputs
from detection.deployment.exported import Found
from detection.deployment.opened import Opened
from detection.measurement.evaluation import Detection, class_aps, score
from searchd.domain.errors import InvalidValueError


def matched_classes(
    known: Sequence[str], wanted: Sequence[str], named: Mapping[str, str]
) -> dict[int, int]:
    """Return the label in the data set of each label of a detector that has one.

    Args:
        known: Classes of the detector.
        wanted: Classes of the data set.
        named: Class of the data set by class of the detector, where their names differ.

    Raises:
        InvalidValueError: A named class does not exist, or a class of the data set is none of the
            detector's.
    """
    for given, names, owner in (
        (named.keys(), known, "detector"),
        (named.values(), wanted, "data set"),
    ):
        for name in given:
            if name not in names:
                raise InvalidValueError(
                    f"the {owner} has no class {name!r}; its classes are {', '.join(names)}"
                )
    meant = [named.get(name, name) for name in known]
    missing = [name for name in wanted if name not in meant]
    if missing:
        raise InvalidValueError(
            f"the detector has no class {', '.join(map(repr, missing))} of the data set; its "
            f"classes are {', '.join(known)}. If it has another name for one, say --class "
            "DETECTOR=DATASET for each"
        )
    return {label: wanted.index(name) for label, name in enumerate(meant) if name in wanted}


def evaluate(
    opened: Opened,
    split: CocoSplit,
    labels: Mapping[int, int],
    advance: Callable[[], None] = lambda: None,
) -> SplitAps:
    """Return the APs of an exported detector on a split.

    Args:
        opened: The detector.
        split: The images and their objects.
        labels: Label in the split by label of the detector; others are left out.
        advance: Called after each image.

    Raises:
        DataError: An image cannot be read.
    """
    seen: list[Detection] = []
    for index in range(len(split)):
        image = inputs(split, index, opened.request)
        found = _relabelled(opened.runner.detect(image.pixels), labels)
        seen += detections(found, image, split, index)
        advance()
    return SplitAps(
        total=score(split, seen), by_class=class_aps(split, seen), num_images=len(split)
    )


def _relabelled(found: Found, labels: Mapping[int, int]) -> Found:
    kept = found.where(np.isin(found.labels, list(labels)))
    meant = np.array([labels[each] for each in kept.labels.tolist()], dtype=np.int64)
    return replace(kept, labels=meant)
