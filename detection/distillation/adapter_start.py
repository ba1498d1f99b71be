"""Starts linear adapters where they fit: by least squares, before the first step of a training.

The student's features are read as the losses will read them: in train mode, on training images with
their augmentation, at the places that the method compares. The map is the one of
`detection.least_squares`, as for adaptation costs, with a small ridge. A convolution with a 3x3
kernel gets the map as its centre tap, and its other taps are 0.

The same pass measures the variance of the teacher's features, the unit of losses with
`normalise: teacher_variance`.
"""

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import add

import torch
from torch import Tensor

from detection.data.batches import Batch
from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared
from detection.distillation.distiller import Distiller
from detection.distillation.method import DistillationMethod
from detection.distillation.sums import RIDGE, Sums
from detection.distillation.taps import StudentTaps

Key = tuple[int, str, str]
"""Number of the teacher, name of the method, name of the place."""


class AdapterStart:
    """One pass over training images that starts the new adapters of a distiller, and measures its
    teachers' variances.

    New are adapters that were not inherited, and the outputs of inherited ones that no earlier
    teacher was wide enough to use.

    Attributes:
        num_images: Wanted number of training images; 0 if there is nothing to start or measure.
    """

    def __init__(self, distiller: Distiller) -> None:
        self._distiller = distiller
        self._sums: dict[Key, Sums] = {}
        self._adapters: dict[Key, ChannelAdapter | None] = {}
        started = [each for name, each in distiller.methods.items() if self._is_started(name, each)]
        self.num_images = max((method.start_images for method in started), default=0)

    @torch.no_grad()
    def add(self, student: StudentTaps, batch: Batch | None = None) -> None:
        """Add the cells of a batch.

        Args:
            student: The student's taps.
            batch: The teachers' batch; None for the student's.
        """
        for number, (methods, teacher) in enumerate(self._distiller.sets(student, batch)):
            for name, method in methods.items():
                if self._is_started(name, method):
                    self._add(number, name, method.compared(student, teacher))

    @torch.no_grad()
    def finish(self) -> tuple[str, ...]:
        """Start the adapters and set the variances.

        Returns:
            What was done, in sentences.
        """
        for key, sums in self._sums.items():
            self._sums[key] = sums.over_ranks()
        return tuple(self._finish())

    def _is_started(self, name: str, method: DistillationMethod) -> bool:
        if method.variance is not None:
            return True
        if method.start != "least_squares":
            return False
        new = name not in self._distiller.inherited
        return any(new or a.num_used() < a.out_channels for a in method.linear_adapters)

    def _add(self, number: int, name: str, places: Mapping[str, Compared]) -> None:
        for place, compared in places.items():
            key, found = (number, name, place), Sums.of(compared)
            self._sums[key] = self._sums[key] + found if key in self._sums else found
            self._adapters[key] = compared.adapter

    def _finish(self) -> Iterator[str]:
        several = len({number for number, *_ in self._sums}) > 1
        for number, name in dict.fromkeys((number, name) for number, name, _ in self._sums):
            method = self._distiller.set_of(number)[name]
            places = {key[2]: sums for key, sums in self._sums.items() if key[:2] == (number, name)}
            if method.variance is not None:
                for index, sums in enumerate(places.values()):
                    method.variance.set(index, sums.variance)
            if method.start == "least_squares":
                title = f"{name} of teacher {number}" if several else name
                yield from self._start(title, name, self._by_adapter(number, name))

    def _by_adapter(self, number: int, name: str) -> list[tuple[ChannelAdapter, dict[str, Sums]]]:
        """Return a method's adapters, each with its places."""
        found: dict[int, tuple[ChannelAdapter, dict[str, Sums]]] = {}
        for key, adapter in self._adapters.items():
            if key[:2] == (number, name) and adapter is not None:
                found.setdefault(id(adapter), (adapter, {}))[1][key[2]] = self._sums[key]
        return list(found.values())

    def _start(
        self, title: str, name: str, adapters: list[tuple[ChannelAdapter, dict[str, Sums]]]
    ) -> Iterator[str]:
        shares: dict[str, float] = {}
        for adapter, places in adapters:
            total = reduce(add, places.values())
            first = adapter.num_used() if name in self._distiller.inherited else 0
            if first >= len(total.squares):
                continue  # inherited, and it fits
            cells, wanted = total.equations.num_samples, adapter.in_channels + 2
            if cells < wanted:
                yield (
                    f"{title}: the adapter {', '.join(places)} keeps its random start: the "
                    f"training images have {cells} cells there, and least squares need {wanted}"
                )
                continue
            adapter.start(total.equations.solve(RIDGE), first)
            together = "over all levels" if len(places) > 1 else next(iter(places))
            shares[together] = total.explained(map_of(adapter, len(total.squares)))
        if shares:
            found = ", ".join(f"{share:.0%} {place}" for place, share in shares.items())
            yield (
                f"{title}: new adapters start by least squares and explain {found} of the "
                "teacher's variance"
            )


def map_of(adapter: ChannelAdapter, outputs: int) -> Tensor:
    """Return the leading outputs of an adapter's centre tap and bias, (I + 1) x O, float64."""
    assert adapter.bias is not None  # adapters have one
    return torch.cat([adapter.centre, adapter.bias[:, None]], dim=1)[:outputs].double().T
