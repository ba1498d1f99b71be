"""Adaptation costs between detectors' neck features. MTPD section 3.2, docs/papers.md 2.3.

C(A, B): a map r from A's neck features to B's, a 1x1 convolution with bias for each level that both
have, is learned on training images; the cost is the mean squared difference on validation images,
per element of a level and then over levels (docs/papers.md 2.2, 2.3). Zero: B has nothing new.
Cells that lie in an image's padding are not counted; see `detection.adaptation.neck_levels.Level`.

r is a linear least squares problem of each level. It is solved exactly, in two passes: `gather` the
sums of the training images and `solve`, then `measure` on the validation images. What `gather` and
`measure` return is additive (`merged`), so that images may be spread over processes. Every detector
is run once per image for all its pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Literal, TypeVar

import torch
from torch import nn

from detection.adaptation.least_squares import LinearMap, NormalEquations, SquaredError
from detection.adaptation.neck_levels import Pair, PerLevel, each_level, shared_levels
from detection.data.views import Views
from searchd.domain.errors import InvalidValueError

Normalisation = Literal["none", "target_var"]
"""Unit of a cost: B's squared features (the paper), or the share of B's variance not explained."""

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
    """Costs among detectors, with the exact optimum of r.

    Args:
        models: mmdet detectors by name, on `device`. Their modes are what they were afterwards.
        train_batches: To fit r on; gone through once. Each holds the images for every model.
        validation_batches: To measure the costs on; gone through once.
        pairs: Which costs; all between two different models by default.
        normalize: See `Normalisation`.
        device: Where the models are.

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
    """The sums that r depends on, on the CPU. Arguments as of `adaptation_costs`.

    Raises:
        InvalidValueError: A pair names an unknown model, or two whose necks have no level in
            common; or there is no image.
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
    """r of every pair.

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
    """The squared errors of r, on the CPU. Other arguments as of `adaptation_costs`.

    Raises:
        InvalidValueError: A pair names an unknown model; or there is no image.
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
    """What `gather` or `measure` would have returned for the images of all parts together.

    Args:
        parts: Of the same pairs; at least one.
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
    """costs[A][B] = C(A, B) of the measured errors.

    Raises:
        InvalidValueError: A cost is to be a share of the variance of features that do not vary.
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
