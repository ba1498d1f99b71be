"""Fits an inherited neck to the student's backbone, before the first step of a training.

A neck that is copied from the teacher reads a backbone that it was not trained with. Its
convolutions that read the backbone therefore get the linear maps by which they give, from the
student's features, what the teacher's give on the same images, by least squares with a small ridge
as in `adapter_start`. What follows them in neck and head then sees what it was trained on.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.distillation.sums import RIDGE, Sums, rows_of

_Calls = dict[str, tuple[Tensor, Tensor]]
"""Input and output of each convolution of a neck, by its name."""


class NeckStart:
    """One pass over training images.

    Attributes:
        num_images: Wanted number of training images.
    """

    def __init__(self, student: Any, teacher: Any, num_images: int) -> None:
        """
        Args:
            student: mmdet detector with the teacher's neck, but for convolutions that read the
                backbone.
            teacher: mmdet detector.
            num_images: Wanted number of training images.
        """
        self.num_images = num_images
        self._student, self._teacher = student, teacher
        self._sums: dict[str, Sums] = {}

    @torch.no_grad()
    def add(self, inputs: Tensor) -> None:
        """Add a batch, N x 3 x H x W, which both detectors see at the student's resolution."""
        features = self._student.backbone(inputs)
        ours, theirs = (
            _calls(model.neck, found)
            for model, found in (
                (self._student, features),
                (self._teacher, self._teacher.backbone(inputs)),
            )
        )
        for name, (read, _) in ours.items():
            if any(read is feature for feature in features):
                conv = self._student.neck.get_submodule(name)
                sums = Sums.between(rows_of(_patches(read, conv)), rows_of(theirs[name][1]))
                self._sums[name] = self._sums[name] + sums if name in self._sums else sums

    @torch.no_grad()
    def finish(self) -> tuple[str, ...]:
        """Change the student.

        Returns:
            What was done, in sentences.
        """
        return tuple(
            self._fit(name, self._student.neck.get_submodule(name), sums.over_ranks())
            for name, sums in self._sums.items()
        )

    def _fit(self, name: str, conv: nn.Conv2d, sums: Sums) -> str:
        cells, wanted = sums.equations.num_samples, len(sums.equations.gram) + 1
        if cells < wanted:
            return (
                f"inheriting: {name} of the neck stays as it is: the training images have {cells} "
                f"cells there, and least squares need {wanted}"
            )
        fitted = sums.equations.solve(RIDGE)
        conv.weight.copy_(fitted.weight.T.reshape(conv.weight.shape))
        if conv.bias is not None:
            conv.bias.copy_(fitted.bias)
        share = sums.explained(torch.cat([fitted.weight, fitted.bias[None]]))
        return (
            f"inheriting: {name} of the neck starts by least squares and explains {share:.0%} of "
            "the variance of what the teacher's gives"
        )


def _patches(features: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return what the kernel reads at each place of the output, N x (I kh kw) x H x W."""
    if conv.kernel_size == (1, 1) and conv.stride == (1, 1):
        return features
    kernel, stride = conv.kernel_size, conv.stride
    padding, dilation = conv.padding, conv.dilation
    assert not isinstance(padding, str)  # mmdet's necks give numbers
    columns = functional.unfold(features, kernel, dilation, padding, stride)
    sides = zip(features.shape[2:], kernel, stride, padding, dilation, strict=True)
    height, width = (
        (side + 2 * pad - gap * (size - 1) - 1) // step + 1 for side, size, step, pad, gap in sides
    )
    return columns.unflatten(2, (height, width))


def _calls(neck: nn.Module, features: Any) -> _Calls:
    """Run a neck; return the calls of its convolutions."""
    with _overheard(neck) as found:
        neck(features)
    return found


@contextmanager
def _overheard(neck: nn.Module) -> Iterator[_Calls]:
    found: _Calls = {}

    def listen(name: str) -> Any:
        return lambda _, given, result: found.update({name: (given[0], result)})

    with ExitStack() as hooks:
        for name, module in neck.named_modules():
            if isinstance(module, nn.Conv2d):
                hooks.callback(module.register_forward_hook(listen(name)).remove)
        yield found
