"""BN reset: recomputes the statistics of a subnet on training images.

Joint-DetNAS section 4 ("essential for performance recovery"), docs/papers.md 1.7: the supernet's
running statistics are not those of a subnet, since other channels feed it. OFA uses 2000 images.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from detection.data.batches import TrainingBatches
from detection.data.coco import CocoSplit
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution


@torch.no_grad()
def reset_bn(detector: Any, images: Iterable[Tensor]) -> None:
    """Replace the running mean and variance of every BN of a static detector, in place.

    Each BN gets the mean over batches of the batch's mean and (biased) variance, weighted by the
    number of images. Meanwhile every BN normalises with the batch's own statistics, so that deeper
    layers get the inputs that they get in training. Affine weights and the detector's mode stay
    the same.

    Args:
        detector: An mmdet detector (only backbone and neck are run; heads have no BN).
        images: Batches, N x 3 x H x W, normalised.

    Raises:
        InvalidValueError: There are no images.
    """
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    averages = {norm: _Average(norm) for norm in norms}
    with _normalising_by_batch(norms, averages):
        for batch in images:
            detector.extract_feat(batch)
    for norm, average in averages.items():
        average.store(norm)


def reset_images(
    split: CocoSplit,
    *,
    num_images: int,
    batch_size: int,
    resolutions: Sequence[Resolution],
    seed: int,
    max_epochs: int | None = None,
) -> Iterator[Tensor]:
    """Yield training images for `reset_bn`: at least `num_images`, in full batches.

    Args:
        split: The training split.
        num_images: Number of images; images repeat if the split has fewer.
        batch_size: Images per batch.
        resolutions: One is drawn uniformly for every batch.
        seed: Seed of the images' order, of the flips and of the resolutions.
        max_epochs: Largest number of passes over the split; None for no limit.

    Yields:
        Batches of N x 3 x H x W, normalised.

    Raises:
        DataError: No image holds an object, or an image cannot be read.
    """
    batches = TrainingBatches(split, batch_size=batch_size, resolutions=resolutions, seed=seed)
    num_batches = math.ceil(num_images / batch_size)
    if max_epochs is not None:
        num_batches = min(num_batches, max_epochs * batches.num_iterations)
    for step in range(num_batches):
        yield batches.batch(step).inputs


class _Average:
    """The mean of one BN's per-batch statistics, weighted by the number of images."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        self._num_images = 0
        self._mean = norm.weight.new_zeros(norm.num_features)
        self._var = norm.weight.new_zeros(norm.num_features)

    def add(self, _norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Add a batch. This is a forward pre-hook; `inputs` is one N x C x H x W tensor."""
        (x,) = inputs
        var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        self._num_images += len(x)
        share = len(x) / self._num_images
        self._mean.lerp_(mean, share)
        self._var.lerp_(var, share)

    def store(self, norm: nn.BatchNorm2d) -> None:
        if not self._num_images:
            raise InvalidValueError("BN statistics need at least one image")
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(self._mean)
        norm.running_var.copy_(self._var)


@contextmanager
def _normalising_by_batch(
    norms: list[nn.BatchNorm2d], averages: dict[nn.BatchNorm2d, _Average]
) -> Iterator[None]:
    """Inside the context, each BN normalises by batch statistics and adds them to its average."""
    modes = [norm.training for norm in norms]
    hooks = [norm.register_forward_pre_hook(averages[norm].add) for norm in norms]
    try:
        for norm in norms:
            norm.train()
        yield
    finally:
        for norm, mode, hook in zip(norms, modes, hooks, strict=True):
            norm.train(mode)
            hook.remove()
