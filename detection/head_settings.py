"""Compares the head that a run asks for with that of a loaded detector."""

from collections.abc import Mapping
from typing import Any

from searchd.domain.detector import Detector
from searchd.domain.errors import CheckpointError
from searchd.spec import HeadSpec

_ONE_STAGE = ("tower_channels", "tower_convs")
_TWO_STAGE = ("head_channels", "finest_roi_scale")
_WITH_MASKS = ("mask_channels",)
_NOT_IN_WEIGHTS = ("num_proposals", "sampled_rois")
"""Settings that every detector can be given."""


def check_head(wanted: Detector, found: Detector, source: str) -> None:
    """Check that a loaded detector has the head that was asked for.

    Args:
        wanted: A detector with the head of the run.
        found: The loaded detector.
        source: Its file or folder, for the message.

    Raises:
        CheckpointError: A setting that the weights depend on differs. The message names both.
    """
    loaded = _settings(found)
    different = [
        f"{name} {expected} in the search, {loaded[name]} in the checkpoint"
        for name, expected in _settings(wanted).items()
        if expected != loaded[name]
    ]
    if different:
        raise CheckpointError(
            f"{source} has another head than the search: {'; '.join(different)}; leave these "
            "fields of `head` out, or give those of the checkpoint"
        )


def completed_head(given: Mapping[str, Any], found: Detector, source: str) -> HeadSpec:
    """Return the head of a loaded detector, with the given settings where they are free.

    Args:
        given: The fields of `HeadSpec` that were given, as in JSON.
        found: The loaded detector.
        source: Its file or folder, for the message.

    Raises:
        CheckpointError: A given setting that the weights depend on differs from the detector's.
    """
    head = HeadSpec.of(found)
    wanted = HeadSpec.model_validate(head.model_dump() | dict(given))
    check_head(wanted.detector(found.architecture, found.num_classes), found, source)
    free = {name: getattr(wanted, name) for name in _NOT_IN_WEIGHTS}
    return head.model_copy(update=free)


def _settings(detector: Detector) -> dict[str, object]:
    """Return what a detector's weights depend on, besides the backbone and the classes."""
    family = detector.family
    read = _TWO_STAGE if family.two_stage else _ONE_STAGE
    of_masks = _WITH_MASKS if family.has_masks else ()
    names = (*_TWO_STAGE, *_WITH_MASKS, *_ONE_STAGE)
    values = {name: getattr(detector, name) for name in names}
    values["tower_convs"] = detector.num_tower_convs
    return {
        "family": family.value,
        "neck_channels": detector.neck_channels,
        "anchor_scale": detector.level_scale,
        **{name: value if name in (*read, *of_masks) else None for name, value in values.items()},
    }
