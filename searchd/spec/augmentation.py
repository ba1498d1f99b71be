"""How training images are augmented, beyond flips and resolutions. The defaults are those of
mmdet's configs that use the same transform."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from searchd.spec.base import Spec

Factor = Annotated[float, Field(gt=0)]


class PhotometricDistortionSpec(Spec):
    """Random changes of brightness, contrast, saturation and hue, each applied to half of the
    images (mmdet's PhotoMetricDistortion, with the values of its SSD configs)."""

    brightness_delta: float = Field(default=32, ge=0, le=255)
    """Largest value that is added to or subtracted from all pixels, whose range is 0 to 255."""
    contrast: tuple[Factor, Factor] = (0.5, 1.5)
    """Smallest and largest factor of all pixels."""
    saturation: tuple[Factor, Factor] = (0.5, 1.5)
    """Smallest and largest factor of the saturation."""
    hue_delta: float = Field(default=18, ge=0, le=180)
    """Largest rotation of the hue, in degrees of a circle of 360."""
    swap_channels: bool = True
    """Whether the colour channels of half of the images are permuted at random. Switch it off if
    the colour of an object decides its class."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_range("contrast", self.contrast)
        check_range("saturation", self.saturation)
        return self


class MinIouCropSpec(Spec):
    """A crop that overlaps every object by a minimum IoU, which is drawn for each image (mmdet's
    MinIoURandomCrop, as in its SSD configs). Objects whose centre is outside the crop are left
    out."""

    kind: Literal["min_iou"] = "min_iou"
    """Selects the crop by minimum IoU."""
    min_ious: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    """Minimum IoUs, each in [0, 1]. Every image draws one of them, no minimum, or no crop."""
    min_crop_size: float = Field(default=0.3, gt=0, le=1)
    """Smallest share of the width, and of the height, that a crop keeps."""


class RandomCropSpec(Spec):
    """A crop of random size and place (mmdet's RandomCrop, "relative_range"). An image with objects
    keeps at least one."""

    kind: Literal["random"] = "random"
    """Selects the crop of random size."""
    min_crop_size: float = Field(default=0.5, gt=0, le=1)
    """Smallest share of the width, and of the height, that a crop keeps; the share is drawn
    uniformly between it and 1."""


CropSpec = Annotated[MinIouCropSpec | RandomCropSpec, Field(discriminator="kind")]


def check_range(name: str, bounds: tuple[float, float]) -> None:
    """Check that a pair is a smallest and a largest value.

    Raises:
        ValueError: The first is larger than the second.
    """
    low, high = bounds
    if low > high:
        raise ValueError(f"{name}: [{low:g}, {high:g}] must be [smallest, largest]")
