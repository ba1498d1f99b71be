"""A searched backbone in a detector of another family, such as a cascade (JD-27; paper table 6)."""

from dataclasses import replace

import torch

from detection.build import Student, build_detector
from searchd.domain.detector import Family


def with_family(student: Student, family: Family, *, seed: int) -> Student:
    """The student's backbone with the neck and heads of `family`.

    The backbone is inherited; between two-stage families, which read the same levels, neck and RPN
    are too. All else is drawn anew from `seed`, and has to be trained. The global generator stays
    as it is.
    """
    detector = replace(student.detector, family=family)
    inherited = ["backbone."]
    if family.two_stage and student.detector.family.two_stage:
        inherited += ["neck.", "rpn_head."]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = build_detector(detector).state_dict()
    weights |= {
        name: tensor
        for name, tensor in student.weights.items()
        if name.startswith(tuple(inherited))
    }
    return Student(detector=detector, weights=dict(weights))
