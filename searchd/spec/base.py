"""What every spec is built from: the base class, names, resolutions."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from typing_extensions import TypedDict

from searchd.domain.resolution import Resolution


class Size(TypedDict):
    """A resolution as an object, which specs accept too."""

    width: int
    """Largest long side of an image in pixels."""
    height: int
    """Largest short side of an image in pixels."""


def _read_resolution(value: object) -> object:
    return Resolution.parse(value) if isinstance(value, str) else value


_WxH = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")]
ResolutionText = Annotated[
    Resolution,
    BeforeValidator(_read_resolution, json_schema_input_type=_WxH | Size),
    PlainSerializer(str, return_type=str),
]
"""An input resolution, written "1333x800" (width x height, in pixels) in JSON and YAML."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""The name of a resource: lower-case letters, digits, "-" and "_", at most 63 characters."""

TrialId = Annotated[str, Field(pattern=r"^[a-z0-9]+-[a-z0-9]+-[a-z0-9-]+$", max_length=64)]
"""The id of a trial, for example "s-7f3k2m-12"."""


class Spec(BaseModel):
    """Base of every spec: immutable, without unknown fields.

    The docstring of a field is its description in the API's OpenAPI document.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
