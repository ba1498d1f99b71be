"""What every int8 format does: calibrate on training images, and keep parts in 32 bits if AP falls.

A format quantises a detector with some of its `PARTS` left out, and `within_limit` says which.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeVar, overload

from mmdet.models import BaseDetector

from detection.data.coco import CocoSplit
from detection.deployment.check import ap_kinds, inputs, measure_aps
from detection.deployment.exported import Pixels, Request, Runner
from detection.deployment.torch_runner import TorchRunner
from searchd.domain.accuracy import Accuracy
from searchd.domain.errors import ParityError

PARTS = ("heads", "stem", "neck", "stage 4", "stage 3", "stage 2", "stage 1")
"""Parts of a detector, in the order in which they go back to 32 bits. The heads' outputs are boxes
and scores, and the stem sees the pixels; both lose most by rounding."""


class Quantised(Protocol):
    """A detector with integers."""

    @property
    def runner(self) -> Runner:
        """Runs it."""


Q = TypeVar("Q", bound=Quantised)


def within_limit(quantise: Callable[[Sequence[str]], Q], request: Request) -> tuple[Q, list[str]]:
    """Quantise as many parts as the limit of AP allows.

    Args:
        quantise: Quantises all parts but those that it is given.
        request: Measures the loss of AP, and has the limit.

    Returns:
        What is within the limit, and the parts that stayed in 32 bits.

    Raises:
        ParityError: Nothing is; the message has the loss of each attempt.
    """
    losses: list[str] = []
    for number in range(len(PARTS)):
        kept = list(PARTS[:number])
        made = quantise(kept)
        loss = request.ap_loss(made.runner)
        if loss <= request.max_ap_loss:
            return made, kept
        losses.append(f"{100 * loss:.2f} with {' and '.join(kept) or 'nothing'} in 32 bits")
    raise ParityError(
        f"int8 loses more than {100 * request.max_ap_loss:g} points of AP on the validation split "
        f"(max_ap_loss): {', '.join(losses)}. Use precision=fp16 or fp32, give more calibration "
        "images, or allow a larger loss"
    )


class CalibrationImages(Sequence[Pixels]):
    """Training images as a detector takes them, chosen by seed. Each is read when it is used."""

    def __init__(self, split: CocoSplit, request: Request, *, number: int, seed: int) -> None:
        """
        Args:
            split: The training split.
            request: What is written.
            number: Number of images; all if there are fewer.
            seed: Chooses them.
        """
        self._split, self._request = split, request
        count = min(number, len(split))
        self._indices = sorted(random.Random(seed).sample(range(len(split)), count))

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pixels]: ...
    def __getitem__(self, index: int | slice) -> Pixels | Sequence[Pixels]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return inputs(self._split, self._indices[index], self._request).pixels


@dataclass(frozen=True, kw_only=True)
class ApLoss:
    """Measures how much AP a runner loses on the validation split."""

    model: BaseDetector
    """The detector in eval mode, on the CPU."""
    request: Request
    validation: CocoSplit

    def __call__(self, runner: Runner) -> float:
        """Return the loss in [0, 1]; negative if the runner is better. Of a detector that finds
        masks, it is the larger one of the losses of box AP and of mask AP."""
        found = measure_aps(runner, self.request, self.validation).total
        return max(self._expected.of(kind) - found.of(kind) for kind in ap_kinds(self.model))

    @cached_property
    def _expected(self) -> Accuracy:
        reference = TorchRunner(self.model)
        return measure_aps(reference, self.request, self.validation).total


def with_images(
    request: Request,
    model: BaseDetector,
    validation: CocoSplit,
    train: CocoSplit,
    *,
    number: int,
    seed: int,
) -> Request:
    """Return a request with what quantisation measures.

    Args:
        request: What is written.
        model: The detector in eval mode, on the CPU.
        validation: Images that AP is measured on.
        train: Images that ranges are measured on.
        number: Number of the latter.
        seed: Chooses them.
    """
    return replace(
        request,
        calibration=CalibrationImages(train, request, number=number, seed=seed),
        ap_loss=ApLoss(model=model, request=request, validation=validation),
    )
