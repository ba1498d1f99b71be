"""What every model is made of: the base class, names, resolutions, data sets."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from searchd.domain.resolution import Resolution


def _read_resolution(value: object) -> object:
    return Resolution.parse(value) if isinstance(value, str) else value


ResolutionText = Annotated[
    Resolution, BeforeValidator(_read_resolution), PlainSerializer(str, return_type=str)
]
"""A resolution that JSON and YAML write as "1333x800"."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A resource's name: lower-case letters, digits, "-" and "_", at most 63 characters."""

TrialId = Annotated[str, Field(pattern=r"^[a-z0-9]+-[a-z0-9]+-[a-z0-9-]+$", max_length=64)]
"""A trial's id, as "s-7f3k2m-12"."""


MAX_EMPTY_SHARE, MAX_FAULT_SHARE = 0.05, 0.0
"""Defaults of `DatasetSpec.max_empty_share` and `DatasetSpec.max_fault_share`."""


class Spec(BaseModel):
    """Base of every model here: immutable, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SplitSpec(Spec):
    """One split of a COCO-format data set."""

    annotations: Path
    """COCO instances file (JSON)."""
    images: Path
    """Folder that `file_name` is relative to."""


class DatasetSpec(Spec):
    """A data set on a disk that every worker can read."""

    name: Name
    train: SplitSpec
    validation: SplitSpec
    max_empty_share: float = Field(default=MAX_EMPTY_SHARE, ge=0, le=1)
    """Largest share of a split's annotations that may be left out since their box encloses nothing:
    no area, a side below one pixel, or outside the image. One such box is always allowed. A larger
    share refuses the data set."""
    max_fault_share: float = Field(default=MAX_FAULT_SHARE, ge=0, le=1)
    """Largest share of a split's annotations that may be left out since they cannot be meant:
    NaN, a negative width, an unknown image or category. A larger share refuses the data set; by
    default any."""
