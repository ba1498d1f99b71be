"""A searched backbone under other heads (JD-27)."""

import pytest
import torch

from detection.build import load_student
from detection.morphism import evolve
from detection.morphism.deformable import with_deformable_convs
from detection.morphism.new_family import with_family
from searchd.domain.actions import AddLayer, Move, PruneChannels, Rearrange
from searchd.domain.detector import Family
from tests.detection.morphism.students import BASIC, GROUPED, image, make_student, outputs


def test_searched_resnext_gets_deformable_convolutions_and_a_cascade() -> None:
    student = make_student(GROUPED)
    for action in (
        PruneChannels(fraction=0.2, min_channels=2),
        AddLayer(stage=3),
        Rearrange(stage=3, move=Move.LAST_TO_NEXT),
    ):
        student = evolve(student, action, generator=torch.Generator().manual_seed(0))

    upgraded = with_family(with_deformable_convs(student, (2, 3, 4)), Family.CASCADE_RCNN, seed=0)

    images = image().double()
    for was, now in zip(outputs(student, images), outputs(upgraded, images), strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=1e-9)
    model = load_student(upgraded)
    assert len(model.roi_head.bbox_head) == 3
    for name, tensor in student.weights.items():
        if name.startswith("rpn_head."):
            assert upgraded.weights[name] is tensor


@pytest.mark.parametrize("family", [Family.RETINANET, Family.FCOS])
def test_one_stage_detector_inherits_the_backbone_alone(family: Family) -> None:
    student = make_student(BASIC)

    upgraded = with_family(student, family, seed=0)

    load_student(upgraded)
    inherited = {
        name for name, tensor in upgraded.weights.items() if tensor is student.weights.get(name)
    }
    assert inherited == {name for name in student.weights if name.startswith("backbone.")}


def test_seed_alone_decides_the_new_heads() -> None:
    student = make_student(BASIC)
    state = torch.get_rng_state()

    one, same, other = (with_family(student, Family.FCOS, seed=seed) for seed in (1, 1, 2))

    name = "bbox_head.conv_cls.weight"
    assert torch.equal(one.weights[name], same.weights[name])
    assert not torch.equal(one.weights[name], other.weights[name])
    assert torch.equal(torch.get_rng_state(), state)
