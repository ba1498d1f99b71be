"""The folder that `searchd pool export` writes and that `source` of a pool's spec names.

It describes itself: `pool.json` beside the weights of the supernet. A teacher needs nothing else,
since the BN statistics of a subnet are computed anew on images of the data set that it teaches on.
"""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from searchd.domain.errors import CheckpointError
from searchd.domain.subnet import Subnet
from searchd.spec.base import ResolutionText, Spec
from searchd.spec.pool import PoolSpec

DESCRIPTION = "pool.json"
"""File of an export that describes the pool."""
WEIGHTS = "supernet.safetensors"
"""File of an export that holds the weights of the supernet."""


IMPORT_PHASE = "import"
"""Name that the progress of an import shows instead of a phase of training."""
_OF_WEIGHTS = ("space", "head", "phases", "training")
"""Fields of a spec that say what the weights are and how they were trained."""
_OF_USE = ("bn_reset_images", "evaluated_subnets", "seed")
"""Fields of a spec that may differ from those of the training."""


class SubnetResult(Spec):
    """A subnet that was evaluated where the pool was trained, after BN reset."""

    subnet: Subnet
    params: int
    """Number of parameters of the whole detector."""
    resolution: ResolutionText
    macs: float
    """Multiply-accumulates of one image at that resolution."""
    ap: float
    """COCO box AP in [0, 1] on the validation split of the data set of training."""


class PoolExport(Spec):
    """The content of `pool.json`."""

    format: Literal["searchd-pool"] = "searchd-pool"
    version: Literal[1] = 1
    """Version of the format."""
    searchd_version: str
    """Version of searchd that trained the pool."""
    spec: PoolSpec
    """Spec of the pool as it was trained. Its names, paths and resources are those of the service
    that trained it, and are not used again."""
    class_names: tuple[str, ...] = Field(min_length=1)
    """Names of the classes, in the order of the labels."""
    subnets: tuple[SubnetResult, ...]
    """The evaluated subnets."""
    dtype: Literal["float32", "float16"]
    """Type of the stored weights. BN statistics are stored as float32 always."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the file with the weights."""
    notes: tuple[str, ...] = ()
    """What a user of the pool should know, in sentences."""


def read_description(folder: Path) -> PoolExport:
    """Read `pool.json` of a folder.

    Raises:
        CheckpointError: The folder is no export of a pool, or one of another version; one sentence.
    """
    path = folder / DESCRIPTION
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{folder} has no {DESCRIPTION}; give a folder that `searchd pool export` wrote"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return PoolExport.model_validate_json(text)
    except ValidationError as error:
        raise CheckpointError(
            f"{path} does not describe a pool for this version of searchd: {_first(error)}; export "
            "the pool again"
        ) from error


def check_hash(folder: Path, export: PoolExport) -> None:
    """Check that the weights are those that were exported.

    Raises:
        CheckpointError: They are missing, or their SHA-256 is another.
    """
    path = folder / WEIGHTS
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if found != export.sha256:
        raise CheckpointError(
            f"{path} has SHA-256 {found[:12]}…, but {DESCRIPTION} says {export.sha256[:12]}…; copy "
            "the folder again"
        )


def check_classes(folder: Path, export: PoolExport, class_names: tuple[str, ...]) -> None:
    """Check that the classes of a pool are those of a data set, in the same order.

    Raises:
        CheckpointError: They differ.
    """
    if export.class_names != class_names:
        raise CheckpointError(
            f"the pool in {folder} has the classes {_listed(export.class_names)}, but the data set "
            f"has {_listed(class_names)}; both must be the same, in the same order"
        )


def imported_spec(spec: PoolSpec, export: PoolExport) -> PoolSpec:
    """Return the spec of an imported pool, with what the export determines.

    What the spec gives of `bn_reset_images`, `evaluated_subnets` and `seed` is kept, since these do
    not belong to the weights.

    Raises:
        CheckpointError: The spec gives another space or head, or other phases or training.
    """
    given = spec.model_fields_set
    differing = [field for field in other_fields(spec, export) if field in given]
    if differing:
        raise CheckpointError(
            f"{', '.join(differing)} must be as in {spec.source}/{DESCRIPTION}; leave it out"
        )
    found = {field: getattr(export.spec, field) for field in (*_OF_WEIGHTS, *_OF_USE)}
    kept = spec.model_dump(exclude_unset=True, exclude=set(_OF_WEIGHTS))
    return PoolSpec.model_validate({**_dumped(found), **kept})


def other_fields(spec: PoolSpec, export: PoolExport) -> list[str]:
    """Return the fields that belong to the weights and are not those of the export."""
    return [field for field in _OF_WEIGHTS if getattr(spec, field) != getattr(export.spec, field)]


def _dumped(fields: dict[str, object]) -> dict[str, object]:
    return {
        name: value.model_dump() if isinstance(value, Spec) else value
        for name, value in fields.items()
    }


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return f"{field}: {first['msg']}" if field else first["msg"]


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:8])
    return f"[{shown}, … {len(names) - 8} more]" if len(names) > 8 else f"[{shown}]"
