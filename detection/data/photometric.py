"""Photometric distortion: random changes of an image's colours, by mmdet's own transform."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from searchd.spec import PhotometricDistortionSpec

_SEEDS = 2**32
"""Number of seeds of numpy's global generator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """One draw of mmdet's PhotoMetricDistortion, which can be applied to several sizes of the same
    image."""

    spec: PhotometricDistortionSpec
    seed: int

    @classmethod
    def drawn(cls, spec: PhotometricDistortionSpec, random: np.random.Generator) -> Self:
        """Draw a distortion."""
        return cls(spec=spec, seed=int(random.integers(_SEEDS)))

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return an image with changed colours. As in mmdet, values may leave [0, 255].

        Args:
            image: H x W x 3, RGB.
        """
        # Imported here, since with it come all data sets of mmdet: a CPU-second for each worker.
        from mmdet.datasets.transforms import PhotoMetricDistortion

        transform = PhotoMetricDistortion(
            brightness_delta=self.spec.brightness_delta,
            contrast_range=self.spec.contrast,
            saturation_range=self.spec.saturation,
            hue_delta=self.spec.hue_delta,
            swap_channels=self.spec.swap_channels,
        )
        with _seeded(self.seed):
            found = transform({"img": np.ascontiguousarray(image[..., ::-1])})
        distorted: NDArray[np.float32] = found["img"][..., ::-1]
        return distorted


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Inside the context, numpy's global generator, which mmdet draws from, is seeded."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
