"""The distillation methods of a recommended search."""

from typing import Any

from searchd.domain.detector import Family

LONG_TRIAL_STEPS = 1000
"""Steps of a trial from which every method has its default weight."""
_SHORT_WEIGHTS = {"prediction_conversion": 0.3}
"""Weights in shorter trials, where they differ. That of prediction_conversion was not measured;
with weight 1, a one-stage student that had hardly begun did not recover (docs/distillation.md)."""
_METHODS = {
    Family.FASTER_RCNN: (
        "proposal_feature",
        "classification",
        "class_aware_localisation",
        "inheriting",
    ),
    Family.MASK_RCNN: ("proposal_feature", "classification", "class_aware_localisation"),
    Family.CASCADE_RCNN: ("proposal_feature", "classification"),
    Family.CASCADE_MASK_RCNN: ("proposal_feature", "classification"),
    Family.RETINANET: ("proposal_feature", "prediction_conversion"),
    Family.FCOS: ("proposal_feature", "prediction_conversion"),
    Family.ATSS: ("proposal_feature", "prediction_conversion"),
    Family.GFL: ("proposal_feature", "prediction_conversion"),
    Family.VFNET: ("proposal_feature", "prediction_conversion"),
    Family.TOOD: ("proposal_feature", "prediction_conversion"),
}
"""The methods of Joint-DetNAS, or the nearest that fit the family under a Faster R-CNN teacher. A
student of its family also inherits its neck and head, which are of the same shapes here."""


def methods_of(family: Family, *, steps: int) -> tuple[list[dict[str, Any]], str]:
    """Return the methods as a spec lists them, and why they have these weights.

    Args:
        family: Family of the student.
        steps: Training steps of a trial.
    """
    names = _METHODS[family]
    lowered = _SHORT_WEIGHTS if steps < LONG_TRIAL_STEPS else {}
    methods: list[dict[str, Any]] = [
        {"name": name, "weight": lowered[name]} if name in lowered else {"name": name}
        for name in names
    ]
    if lowered.keys() & set(names):
        return methods, f"Default weights; lower ones where {steps} steps are too few."
    return methods, "With the default weights; adapters start by least squares."
