"""Every importance but |gamma| sums over exactly what pruning removes with a channel."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from detection.build import Student, load_student
from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.student import plain_losses
from detection.morphism import evolve
from detection.morphism.channel_importance import ranked, sums_by_unit, taylor_importances
from detection.morphism.channel_pruning import prune_channels
from detection.morphism.channel_slices import outputs_of, selected, slice_weights, units_kept
from detection.morphism.prune_to_macs import prune_to_macs
from detection.morphism.weights import join_blocks
from searchd.domain.actions import ChannelImportance, PruneChannels, prunable_groups
from searchd.domain.detector import Family
from searchd.domain.resolution import Resolution
from searchd.domain.trial import PruneToMacs
from tests.detection.morphism.students import ARCHITECTURES, BASIC, BLOCK_KINDS, make_student

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SIZE = Resolution(64, 64)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    folder = tmp_path_factory.mktemp("shapes")
    split = CocoSplit(make_shapes(folder, num_train=2, num_validation=1, image_size=64).train)
    found = make_batch(split, [0, 1], SIZE, [False, True])
    for sample in found.samples:
        sample.gt_instances.labels.clamp_(max=2)  # the students know three classes
    return found


def total(student: Student, elements: dict[str, Tensor], removed: tuple[int, int] | None) -> float:
    """The sum of the elements that are left without a unit, given as (group, unit)."""
    architecture = student.detector.architecture
    groups = prunable_groups(architecture)
    kept = [torch.arange(group.num_units) for group in groups]
    if removed is not None:
        kept[removed[0]] = kept[removed[0]][kept[removed[0]] != removed[1]]
    masks = units_kept(groups, kept, architecture)
    blocks, others = slice_weights(elements, masks, student.detector, selected)
    tensors = [*others.values(), *(tensor for block in blocks for tensor in block.values())]
    return float(torch.stack([tensor.sum() for tensor in tensors]).sum())


@pytest.mark.parametrize(
    ("name", "family"),
    [*((name, Family.FASTER_RCNN) for name in ARCHITECTURES), ("basic", Family.RETINANET)],
)
def test_a_units_sum_is_what_its_removal_takes_away(name: str, family: Family) -> None:
    student = make_student(ARCHITECTURES[name], family=family)
    generator = torch.Generator().manual_seed(1)
    elements = {
        key: torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for key, value in student.weights.items()
    }

    sums = sums_by_unit(elements, student.detector)

    whole = total(student, elements, None)
    assert len(sums) == len(prunable_groups(student.detector.architecture))
    for group, units in enumerate(sums):
        last = len(units) - 1
        for unit in {0, last // 2, last}:
            expected = whole - total(student, elements, (group, unit))
            assert float(units[unit]) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", BLOCK_KINDS)
def test_l2_is_the_root_mean_square_of_what_belongs_to_a_unit(name: str) -> None:
    student = make_student(ARCHITECTURES[name])
    weights = student.weights
    for key in weights:
        weights[key] = torch.full_like(weights[key], 2) if weights[key].dim() else weights[key]
    group = prunable_groups(student.detector.architecture)[0]
    stage, index, conv = group.inner[0]
    bn = f"backbone.layer{stage}.{index}.bn{conv + 1}"
    weights[f"{bn}.running_var"].fill_(1e6)  # statistics are not trained

    found = ranked(student, ChannelImportance.L2)

    assert all(torch.allclose(units, torch.full_like(units, 2.0)) for units in found)
    weights[f"{bn}.weight"].view(group.num_units, -1)[1] = 0.0
    assert int(ranked(student, ChannelImportance.L2)[0].argmin()) == 1


def test_taylor_is_the_change_of_the_loss_with_what_belongs_to_a_unit(batch: Batch) -> None:
    student = make_student(BASIC, family=Family.RETINANET)  # whose loss is in float64 throughout
    model = load_student(student).double()
    images = replace(batch, inputs=batch.inputs.double())
    before = {name: value.clone() for name, value in model.state_dict().items()}

    found = taylor_importances(model, student.detector, [images])

    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    for group in (0, len(found) - 1):
        for unit in (0, 3):
            slope = (
                loss_at(student, images, (group, unit), 1 + 1e-6)
                - loss_at(student, images, (group, unit), 1 - 1e-6)
            ) / 2e-6
            assert float(found[group][unit]) == pytest.approx(abs(slope), rel=1e-5)


def loss_at(student: Student, batch: Batch, unit: tuple[int, int], factor: float) -> float:
    """The loss with all weights that belong to a unit multiplied by a factor."""
    architecture = student.detector.architecture
    group = prunable_groups(architecture)[unit[0]]
    masks = {}
    for place, width in outputs_of(group, architecture):
        masks[place] = torch.ones(group.num_units * width, dtype=torch.float64)
        masks[place][unit[1] * width : (unit[1] + 1) * width] = factor

    def scaled(tensor: Tensor, dim: int, factors: Tensor | None) -> Tensor:
        shape = [-1 if each == dim else 1 for each in range(tensor.dim())]
        return tensor if factors is None else tensor * factors.view(shape)

    weights = {k: v.double() if v.is_floating_point() else v for k, v in student.weights.items()}
    changed = join_blocks(*slice_weights(weights, masks, student.detector, scaled), architecture)
    statistics = {name: value for name, value in weights.items() if "running" in name}
    model = load_student(replace(student, weights=changed | statistics)).double()
    model.load_state_dict(changed | statistics)  # in float64, as it is
    return float(torch.stack([*plain_losses(model, batch).values()]).sum().detach())


@pytest.mark.parametrize("importance", ["l2", "taylor"])
def test_students_are_pruned_by_it(importance: str, batch: Batch) -> None:
    parent = make_student(BASIC)

    def taylor(student: Student) -> list[Tensor]:
        return taylor_importances(load_student(student), student.detector, [batch])

    action: Any = PruneChannels(
        fraction=0.1, min_channels=1, importance=ChannelImportance(importance)
    )
    change = PruneToMacs(fraction=0.8, min_channels=1, importance=ChannelImportance(importance))
    generator = torch.Generator().manual_seed(0)
    child = evolve(parent, action, generator=generator, taylor=taylor)
    small = prune_to_macs(parent, change, SIZE, taylor=taylor)

    by_gamma = prune_channels(parent, replace(action, importance=ChannelImportance.GAMMA))
    assert load_student(child) is not None
    assert load_student(small) is not None
    assert child.detector.architecture != by_gamma.detector.architecture
