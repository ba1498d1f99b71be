"""How important channels are for pruning, in three ways (docs/papers.md 1.5 (1)).

- gamma: |gamma| of the BN after the convolution that outputs them, as in network slimming.
- l2: the root mean square of every weight that belongs to them.
- taylor: the change of the detection loss that a first-order expansion expects of their removal.

What belongs to a channel is what pruning removes with it (`detection.morphism.channel_slices`). The
same code is run on a number for each weight, with a factor of 1 for each unit instead of a choice;
the derivative with respect to the factor is the sum over what belongs to the unit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from detection.build import Student
from detection.data.batches import Batch
from detection.distillation.student import plain_losses
from detection.morphism.channel_slices import Masks, outputs_of, slice_weights
from detection.morphism.weights import PROJECTION_BN, place_of, split_blocks
from detection.unchanged import unchanged
from searchd.domain.actions import ChannelGroup, ChannelImportance, prunable_groups
from searchd.domain.detector import Detector

Taylor = Callable[[Student], list[Tensor]]
"""Returns the `taylor_importances` of a student."""
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def ranked(
    student: Student, importance: ChannelImportance, taylor: Taylor | None = None
) -> list[Tensor]:
    """Return the importance of the units of each of the `prunable_groups`, (num_units,).

    Args:
        student: The student.
        importance: How channels are ranked.
        taylor: Ranks them by images; needed for that importance alone.
    """
    if importance is ChannelImportance.GAMMA:
        return _by_gamma(student, prunable_groups(student.detector.architecture))
    if importance is ChannelImportance.L2:
        return _by_l2(student)
    assert taylor is not None  # workers have images
    return taylor(student)


def taylor_importances(model: Any, detector: Detector, batches: Iterable[Batch]) -> list[Tensor]:
    """Return the importance of the units of each of the `prunable_groups`, (num_units,), by a
    first-order expansion of the detection loss.

    It is the root of the mean over batches of the squared sum of weight times gradient over what
    belongs to a unit. (Without the square it would vanish where the training has converged.)

    Args:
        model: The detector on any device. Its state is not changed.
        detector: Its description.
        batches: Training images, at least one batch; each is read once.

    Raises:
        DataError: An image cannot be read.
    """
    device = next(model.parameters()).device
    found: list[list[Tensor]] = []
    with unchanged(model):
        model.train()
        for batch in batches:
            model.zero_grad()
            torch.stack([*plain_losses(model, batch.to(device)).values()]).sum().backward()
            found.append(sums_by_unit(_weight_times_gradient(model), detector))
    return [torch.stack(group).square().mean(dim=0).sqrt() for group in zip(*found, strict=True)]


def sums_by_unit(elements: Mapping[str, Tensor], detector: Detector) -> list[Tensor]:
    """Sum numbers over what belongs to each unit of each of the `prunable_groups`, (num_units,).

    Args:
        elements: A number for each weight, by the names of the detector's state_dict, in float64.
        detector: The detector.
    """
    groups = prunable_groups(detector.architecture)
    if not groups:
        return []
    factors = [
        torch.ones(group.num_units, dtype=torch.float64, requires_grad=True) for group in groups
    ]
    masks: Masks = {}
    for group, factor in zip(groups, factors, strict=True):
        for place, width in outputs_of(group, detector.architecture):
            masks[place] = factor.repeat_interleave(width)
    blocks, others = slice_weights(elements, masks, detector, _scaled)
    tensors = [*others.values(), *(tensor for block in blocks for tensor in block.values())]
    touched = [tensor.sum() for tensor in tensors if tensor.requires_grad]
    return list(torch.autograd.grad(torch.stack(touched).sum(), factors))


def _scaled(tensor: Tensor, dim: int, factors: Tensor | None) -> Tensor:
    if factors is None:
        return tensor
    return tensor * factors.view([-1 if each == dim else 1 for each in range(tensor.dim())])


def _by_l2(student: Student) -> list[Tensor]:
    """Return the root mean square over what belongs to each unit. A sum would grow with the number
    of weights, and wide stages would lose nothing."""
    is_trained = {
        name: torch.full_like(value, float(not name.endswith(_STATISTICS)), dtype=torch.float64)
        for name, value in student.weights.items()
    }
    squares = {name: student.weights[name].double() ** 2 * is_trained[name] for name in is_trained}
    sums, counts = (sums_by_unit(each, student.detector) for each in (squares, is_trained))
    return [(total / count).sqrt() for total, count in zip(sums, counts, strict=True)]


def _weight_times_gradient(model: Any) -> dict[str, Tensor]:
    products = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            products[name] = parameter.detach() * parameter.grad
    return {name: value.double().cpu() for name, value in products.items()}


def _by_gamma(student: Student, groups: Sequence[ChannelGroup]) -> list[Tensor]:
    """Return the mean |gamma| of each unit over its channels and BNs.

    An inner group has its own BNs. A residual group is ranked by the BN of the first block's
    projection or, if it has none, by that block's last BN.
    """
    architecture = student.detector.architecture
    blocks, _ = split_blocks(student.weights, architecture)
    by_place = dict(zip(map(place_of, architecture.placed_blocks()), blocks, strict=True))
    found = []
    for group in groups:
        if group.inner:
            gammas = [by_place[s, i][f"bn{conv + 1}.weight"] for s, i, conv in group.inner]
        else:
            first = by_place[group.blocks[0]]
            bn = (
                PROJECTION_BN
                if f"{PROJECTION_BN}.weight" in first
                else f"bn{architecture.kind.num_convs}"
            )
            gammas = [first[f"{bn}.weight"]]
        # num_units x the unit's channels in all of these BNs
        units = torch.cat([gamma.reshape(group.num_units, -1) for gamma in gammas], dim=1)
        found.append(units.abs().mean(dim=1))
    return found
