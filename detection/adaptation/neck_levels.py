"""Computes neck features of several detectors on the same images, by level and pair."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import ceil
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from detection.data.batches import Batch
from detection.data.views import Views
from detection.distillation.alignment import aligned
from detection.distillation.taps import neck_strides
from detection.eval_mode import eval_mode
from detection.least_squares import with_constant
from searchd.domain.errors import InvalidValueError

Pair = tuple[str, str]
"""(A, B): names of two detectors; A's features are mapped to B's."""

T = TypeVar("T")
PerLevel = dict[Pair, dict[int, T]]
"""Values by pair, then by the stride of a level that both necks have."""


def shared_levels(
    models: Mapping[str, nn.Module], pairs: Sequence[Pair] | None
) -> dict[Pair, tuple[int, ...]]:
    """Return the strides of the levels on which each pair is compared, finest first.

    Args:
        models: mmdet detectors by name.
        pairs: The wanted pairs; by default all of two different models.

    Raises:
        InvalidValueError: A pair names an unknown model, or the necks of a pair have no level in
            common.
    """
    chosen = list(permutations(models, 2)) if pairs is None else pairs
    for name in (name for pair in chosen for name in pair):
        if name not in models:
            raise InvalidValueError(f"a pair names {name!r}, which is none of {list(models)}")
    strides = {name: set(neck_strides(model)) for name, model in models.items()}
    for source, target in chosen:
        if not strides[source] & strides[target]:
            raise InvalidValueError(
                f"the necks of {source!r} and {target!r} have strides {sorted(strides[source])} "
                f"and {sorted(strides[target])}: they are compared at strides that both have"
            )
    return {(a, b): tuple(sorted(strides[a] & strides[b])) for a, b in chosen}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """One level of all detectors on one batch of images. Results that pairs share are cached.

    A sample is a cell of B's map; there are n of them. A has I channels and B has O, float64. Cells
    that are entirely in padding are left out: detectors that see the images at different sizes pad
    differently, and features of padding carry no information about an image.
    """

    stride: int
    """Input pixels per cell."""
    pairs: Sequence[Pair]
    """The pairs that are compared at this stride."""
    views: Views
    features: Mapping[str, Tensor]
    """Features by detector's name, N x C x H x W."""
    _known: dict[Any, Tensor] = field(default_factory=dict)

    def inputs(self, pair: Pair) -> Tensor:
        """Return A's features at B's cells, with the constant 1: n x (I + 1)."""
        source, target = pair
        return self._once(
            ("inputs", *self._grid(pair)),
            lambda: with_constant(
                self._cells(
                    aligned(
                        self.features[source],
                        self.views[source],
                        self.features[target],
                        self.views[target],
                    ),
                    target,
                )
            ),
        )

    def outputs(self, pair: Pair) -> Tensor:
        """Return B's features: n x O."""
        target = pair[1]
        return self._once(("outputs", target), lambda: self._cells(self.features[target], target))

    def gram(self, pair: Pair) -> Tensor:
        """Return inputs times inputs, summed over samples: (I + 1) x (I + 1)."""
        inputs = self.inputs(pair)
        return self._once(("gram", *self._grid(pair)), lambda: inputs.T @ inputs)

    def cross(self, pair: Pair) -> Tensor:
        """Return inputs times outputs, summed over samples: (I + 1) x O."""
        return self.inputs(pair).T @ self.outputs(pair)

    def _grid(self, pair: Pair) -> tuple[Any, ...]:
        """Return the key of A's features on B's grid; it is equal for all B of one input size."""
        source, target = pair
        return source, self.views[target].resolution, tuple(self.features[target].shape[-2:])

    def _cells(self, features: Tensor, target: str) -> Tensor:
        """N x C x H x W on B's grid -> n x C."""
        rows = features.double().permute(0, 2, 3, 1)
        on_image = [
            rows[image, : ceil(height / self.stride), : ceil(width / self.stride)].flatten(0, 1)
            for image, (height, width) in enumerate(
                sample.img_shape for sample in self.views[target].samples
            )
        ]
        return torch.cat(on_image)

    def _once(self, key: Any, compute: Callable[[], Tensor]) -> Tensor:
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]


def each_level(
    models: Mapping[str, nn.Module],
    levels: Mapping[Pair, Sequence[int]],
    batches: Iterable[Views],
    device: torch.device | str,
) -> Iterator[Level]:
    """Yield every level of every batch, without gradient.

    Args:
        models: mmdet detectors by name; those without a pair are not run.
        levels: Strides on which each pair is compared.
        batches: Batches of images, for every model.
        device: Device of the models.
    """
    names = list(dict.fromkeys(name for pair in levels for name in pair))
    strides = sorted({stride for shared in levels.values() for stride in shared})
    for views in batches:
        seen = _moved({name: views[name] for name in names}, device)
        necks = {name: neck_features(models[name], seen[name]) for name in names}
        for stride in strides:
            pairs = [pair for pair in levels if stride in levels[pair]]
            present = {name: neck[stride] for name, neck in necks.items() if stride in neck}
            yield Level(stride=stride, pairs=pairs, views=seen, features=present)


@torch.no_grad()
def neck_features(model: Any, batch: Batch) -> dict[int, Tensor]:
    """Return a detector's neck features in eval mode, N x C x H x W, by stride."""
    with eval_mode(model):
        features = model.extract_feat(batch.inputs)
    return dict(zip(neck_strides(model), features, strict=True))


def _moved(views: Views, device: torch.device | str) -> dict[str, Batch]:
    """Move batches to a device. Detectors that share a batch still share it."""
    distinct = {id(batch): batch for batch in views.values()}
    moved = {key: batch.to(device) for key, batch in distinct.items()}
    return {name: moved[id(batch)] for name, batch in views.items()}
