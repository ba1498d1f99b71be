"""Computes adaptation costs between detectors' neck features. MTPD section 3.2, docs/papers.md 2.3.

C(A, B): a map r from A's neck features to B's, a 1x1 convolution with bias for each level that both
have, is fitted to training images. The cost is the mean squared difference on validation images,
over the elements of a level and then over levels (docs/papers.md 2.2, 2.3). A cost of zero means
that B has nothing new. Cells in an image's padding are not counted, see
`detection.adaptation.neck_levels.Level`.

Fitting r is a linear least squares problem for each level. It is solved exactly, in two passes:
`gather` the sums of the training images and `solve`, then `measure` on the validation images. The
results of `gather` and `measure` are additive (`merged`), so that images can be divided among
processes. Every detector runs once per image for all its pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Literal, TypeVar

import torch
from torch import nn

from detection.adaptation.neck_levels import Pair, PerLevel, each_level, shared_levels
from detection.data.views import Views
from detection.least_squares import LinearMap, NormalEquations, SquaredError
from searchd.domain.errors import InvalidValueError

Normalisation = Literal["none", "target_var"]
"""Unit of a cost: B's squared features (the paper), or the unexplained share of B's variance."""

Additive = TypeVar("Additive", NormalEquations, SquaredError)


def adaptation_costs(
    models: Mapping[str, nn.Module],
    train_batches: Iterable[Views],
    validation_batches: Iterable[Views],
    *,
    pairs: Sequence[Pair] | None = None,
    normalize: Normalisation = "none",
    device: torch.device | str = "cpu",
) -> dict[str, dict[str, float]]:
    """Compute costs among detectors, with the exact optimum of r.

    Args:
        models: mmdet detectors by name, on `device`. Their modes are the same afterwards.
        train_batches: Images to fit r, for every model; iterated once.
        validation_batches: Images to measure the costs, for every model; iterated once.
        pairs: The wanted costs; by default those between all two different models.
        normalize: Unit of the costs, see `Normalisation`.
        device: Device of the models.

    Returns:
        costs[A][B] = C(A, B).

    Raises:
        InvalidValueError: See `gather`, `solve` and `costs`.
    """
    maps = solve(gather(models, train_batches, pairs, device=device))
    return costs(measure(models, maps, validation_batches, device=device), normalize)


def gather(
    models: Mapping[str, nn.Module],
    batches: Iterable[Views],
    pairs: Sequence[Pair] | None = None,
    *,
    device: torch.device | str = "cpu",
) -> PerLevel[NormalEquations]:
    """Sum up what r depends on. The sums are on the CPU; for arguments see `adaptation_costs`.

    Raises:
        InvalidValueError: A pair names an unknown model, the necks of a pair have no level in
            common, or there is no image.
    """
    levels = shared_levels(models, pairs)
    sums: PerLevel[NormalEquations] = {pair: {} for pair in levels}
    for level in each_level(models, levels, batches, device):
        for pair in level.pairs:
            found = NormalEquations(gram=level.gram(pair), cross=level.cross(pair))
            known = sums[pair].get(level.stride)
            sums[pair][level.stride] = found if known is None else known + found
    return _on_cpu(sums, "fitted to")


def solve(sums: PerLevel[NormalEquations]) -> PerLevel[LinearMap]:
    """Solve for r of every pair.

    Raises:
        InvalidValueError: A level has too few cells; the message names pair and stride.
    """
    maps: PerLevel[LinearMap] = {pair: {} for pair in sums}
    for (source, target), levels in sums.items():
        for stride, equations in levels.items():
            try:
                maps[source, target][stride] = equations.solve()
            except InvalidValueError as error:
                raise InvalidValueError(
                    f"adaptation cost from {source!r} to {target!r}, cells of stride {stride}: "
                    f"{error}: give more or larger training images"
                ) from error
    return maps


def measure(
    models: Mapping[str, nn.Module],
    maps: PerLevel[LinearMap],
    batches: Iterable[Views],
    *,
    device: torch.device | str = "cpu",
) -> PerLevel[SquaredError]:
    """Measure the squared errors of the maps r. The errors are on the CPU.

    Args:
        models: mmdet detectors by name, on `device`. Their modes are the same afterwards.
        maps: r of every pair.
        batches: Validation images, for every model; iterated once.
        device: Device of the models.

    Raises:
        InvalidValueError: A pair names an unknown model, or there is no image.
    """
    levels = shared_levels(models, list(maps))
    on_device = {
        pair: {stride: r.to(device) for stride, r in of_pair.items()}
        for pair, of_pair in maps.items()
    }
    errors: PerLevel[SquaredError] = {pair: {} for pair in maps}
    for level in each_level(models, levels, batches, device):
        for pair in level.pairs:
            predicted = on_device[pair][level.stride](level.inputs(pair)[:, :-1])
            found = SquaredError.of(predicted, level.outputs(pair))
            known = errors[pair].get(level.stride)
            errors[pair][level.stride] = found if known is None else known + found
    return _on_cpu(errors, "measured on")


def merged(parts: Sequence[PerLevel[Additive]]) -> PerLevel[Additive]:
    """Return the result of `gather` or `measure` for the images of all parts together.

    Args:
        parts: Results for the same pairs; at least one.
    """
    return {
        pair: {
            stride: reduce(add, (part[pair][stride] for part in parts)) for stride in parts[0][pair]
        }
        for pair in parts[0]
    }


def costs(
    errors: PerLevel[SquaredError], normalize: Normalisation = "none"
) -> dict[str, dict[str, float]]:
    """Compute costs[A][B] = C(A, B) from the measured errors.

    Raises:
        InvalidValueError: A cost is normalised by the variance of features that do not vary.
    """
    found: dict[str, dict[str, float]] = {}
    for (source, target), levels in errors.items():
        values = [_cost(error, normalize, target, stride) for stride, error in levels.items()]
        found.setdefault(source, {})[target] = sum(values) / len(values)
    return found


def _on_cpu(sums: PerLevel[Additive], purpose: str) -> PerLevel[Additive]:
    if not all(sums.values()):
        raise InvalidValueError(f"there is no image for the adaptation costs to be {purpose}")
    return {
        pair: {stride: value.to("cpu") for stride, value in levels.items()}
        for pair, levels in sums.items()
    }


def _cost(error: SquaredError, normalize: Normalisation, target: str, stride: int) -> float:
    if normalize == "none":
        return error.mean
    if error.variance == 0:
        raise InvalidValueError(
            f"the features of {target!r} at stride {stride} are the same in all cells of the "
            "validation images: no share of their variance can be explained; use normalize='none'"
        )
    return error.mean / error.variance
