"""Lets maps of another detector enter the towers of a one-stage head."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def entered(
    head: Any, classes: Sequence[Tensor], boxes: Sequence[Tensor], convs: int
) -> Iterator[None]:
    """Inside the context, maps take the place of what enters the last convolutions of a head's
    towers, for a single forward pass. Whatever that is given, only its sizes are read.

    Args:
        head: A one-stage head of mmdet with two towers.
        classes: A map of each level, N x C x H x W, for the tower of classes.
        boxes: The same for the tower of boxes.
        convs: Number of convolutions at the end of each tower that the maps pass.
    """
    towers = {"cls_convs": (head.cls_convs, classes), "reg_convs": (head.reg_convs, boxes)}
    try:
        for name, (tower, levels) in towers.items():
            last = list(tower)[len(tower) - convs :]
            setattr(head, name, nn.ModuleList([_Entrance(levels), *last]))
        yield
    finally:
        for name, (tower, _) in towers.items():
            setattr(head, name, tower)


class _Entrance(nn.Module):
    """Returns the given maps, one after the other, whatever enters."""

    def __init__(self, levels: Sequence[Tensor]) -> None:
        super().__init__()
        self._levels = iter(levels)

    def forward(self, _: Tensor) -> Tensor:
        return next(self._levels)
