"""What every spec is built from: the base class, names, resolutions."""

from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
    with_config,
)
from pydantic_core import InitErrorDetails
from typing_extensions import TypedDict

from searchd.domain.resolution import Resolution


@with_config(ConfigDict(extra="forbid"))
class Size(TypedDict):
    """A resolution as an object, which specs accept too."""

    width: int
    """Largest long side of an image in pixels."""
    height: int
    """Largest short side of an image in pixels."""


def _read_resolution(value: object) -> object:
    match value:
        case str():
            return Resolution.parse(value)
        case [int(width), int(height)]:
            return Resolution(width, height)
        case dict() | Resolution():
            return value
        case None:
            raise ValueError('is empty; write WxH, for example "1333x800"')
        case int() if not isinstance(value, bool):
            raise ValueError(f'{value} is not WxH, for example "1333x800"; write {value}x{value}')
        case _:
            raise ValueError(f'{value!r} is not WxH, for example "1333x800"')


_WxH = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")]
_Pixels = Annotated[int, Field(ge=1, le=99999)]
_Pair = tuple[_Pixels, _Pixels]
ResolutionText = Annotated[
    Resolution,
    BeforeValidator(_read_resolution, json_schema_input_type=_WxH | _Pair | Size),
    PlainSerializer(str, return_type=str),
]
"""An input resolution, written "1333x800" (width x height, in pixels) in JSON and YAML. The pair
[1333, 800] is accepted too."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""The name of a resource: lower-case letters, digits, "-" and "_", at most 63 characters."""

TRIAL_ID_PATTERN = r"^[a-z0-9]+-[a-z0-9]+-[a-z0-9-]+$"
TrialId = Annotated[str, Field(pattern=TRIAL_ID_PATTERN, max_length=64)]
"""The id of a trial, for example "s-7f3k2m-12"."""


class Spec(BaseModel):
    """Base of every spec: immutable, without unknown fields.

    The docstring of a field is its description in the API's OpenAPI document
    (`searchd.spec.described`). Validators are built at the first use, so that a command of the
    command line does not wait for those of other specs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_values_as_numbers(cls, values: Any) -> Any:
        """Pydantic would read true as 1, so that `epochs: yes` trains for one epoch."""
        if not isinstance(values, dict):
            return values
        errors = [
            InitErrorDetails(type=f"{kind.__name__}_type", loc=(name,), input=values[name])
            for name, field in cls.model_fields.items()
            if isinstance(values.get(name), bool) and (kind := _number(field.annotation))
        ]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return values


def _number(annotation: Any) -> type | None:
    """Return the type of a field that is a number, or may be null otherwise; None for others."""
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and kinds[0] in (int, float) else None
