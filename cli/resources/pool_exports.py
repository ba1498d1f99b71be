"""`searchd pool export` and `searchd pool import`: trained pools as folders of files."""

from pathlib import Path

from pydantic import ValidationError

from api.client import Client
from api.schemas import PoolDetails
from cli.errors import describe
from searchd.domain.errors import CheckpointError, ConflictError, InvalidValueError
from searchd.messages.pool_export import (
    DESCRIPTION,
    WEIGHTS,
    SubnetResult,
    imported_spec,
    read_description,
)
from searchd.spec import PoolSpec


def export_pool(
    client: Client, pool: PoolDetails, folder: Path, *, half: bool
) -> dict[str, object]:
    """Write an export of a pool, and return what to print.

    Raises:
        ApiError: The weights cannot be downloaded.
        ConflictError: The pool is not trained.
    """
    # Imported here because it imports torch, which other commands do not need.
    from safetensors.torch import load_file

    from detection.exported_pool import write_pool_export

    if pool.supernet is None:
        raise ConflictError(
            f"pool {pool.name} is {pool.status}, and only a trained pool can be exported"
        )
    dataset = client.get_dataset(pool.dataset_id)
    assert dataset.summary is not None  # a pool is only trained on a checked data set
    folder.mkdir(parents=True, exist_ok=True)
    weights = load_file(client.download_supernet(pool.id, folder / f".{WEIGHTS}"))
    (folder / f".{WEIGHTS}").unlink()
    export = write_pool_export(
        folder,
        weights,
        pool.spec,
        class_names=dataset.summary["class_names"],
        subnets=[
            SubnetResult.model_validate(each.model_dump(include=set(SubnetResult.model_fields)))
            for each in pool.subnets
        ],
        half=half,
        notes=(f"pool {pool.name} on the data set {dataset.name}, {pool.status_reason}",),
    )
    size = (folder / WEIGHTS).stat().st_size
    return {
        "pool": pool.name,
        "description": folder / DESCRIPTION,
        "weights": folder / WEIGHTS,
        "size": f"{size / 1e6:.1f} MB as {export.dtype}",
        "sha256": export.sha256,
    }


def spec_of_import(folder: Path, dataset: str, name: str | None) -> PoolSpec:
    """Return the spec of a pool that is imported from a folder.

    A folder that is not on this machine is read by the service alone; its pool needs a name.

    Raises:
        InvalidValueError: The folder is no export of a pool, or a name is missing or invalid.
    """
    folder = folder.absolute()
    fields: dict[str, object] = {"dataset": dataset, "source": folder}
    if not folder.exists():
        if name is None:
            raise InvalidValueError(
                f"{folder} does not exist on this machine; for a folder that only the service can "
                "read, give the pool a --name"
            )
        return _spec({**fields, "name": name}, folder)
    try:
        export = read_description(folder)
        return imported_spec(_spec({**fields, "name": name or export.spec.name}, folder), export)
    except CheckpointError as error:
        raise InvalidValueError(str(error)) from error


def _spec(fields: dict[str, object], folder: Path) -> PoolSpec:
    try:
        return PoolSpec.model_validate(fields)
    except ValidationError as error:
        raise InvalidValueError(f"the pool of {folder} is {describe(error, PoolSpec)}") from error
