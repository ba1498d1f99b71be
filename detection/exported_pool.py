"""Reads and writes the weights of a pool that `searchd pool export` wrote.

The weights of a supernet have the names and shapes of its largest subnet, which is a static
detector; so they are checked and read here without the code of the pool.
"""

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from detection.build import assemble
from detection.checkpoint_files import differences, read_checkpoint
from searchd.domain.errors import CheckpointError
from searchd.messages.pool_export import (
    DESCRIPTION,
    WEIGHTS,
    PoolExport,
    SubnetResult,
    check_hash,
    read_description,
)
from searchd.spec import PoolSpec

_BN_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def check_pool_export(folder: Path) -> PoolExport:
    """Check an export, by the SHA-256 of its weights and by their names and shapes.

    Raises:
        CheckpointError: The folder is no export of a pool, or a file is damaged or missing.
    """
    export = read_description(folder)
    check_hash(folder, export)
    found = read_checkpoint(folder / WEIGHTS, shapes_only=True).weights
    differing = differences(_expected(export), found)
    if differing:
        raise CheckpointError(f"{folder / WEIGHTS} does not fit {DESCRIPTION}: {differing}")
    return export


def read_supernet(folder: Path) -> dict[str, Tensor]:
    """Return the checked weights of an export on the CPU, in the types of a supernet's own: float32
    but for counters.

    Raises:
        CheckpointError: As `check_pool_export`.
    """
    expected = _expected(check_pool_export(folder))
    found = read_checkpoint(folder / WEIGHTS).weights
    return {name: found[name].to(like.dtype) for name, like in expected.items()}


def write_pool_export(
    folder: Path,
    weights: Mapping[str, Tensor],
    spec: PoolSpec,
    *,
    class_names: Sequence[str],
    subnets: Sequence[SubnetResult],
    half: bool = False,
    notes: Sequence[str] = (),
) -> PoolExport:
    """Write an export. The description is written last, so that a partial export is none.

    Args:
        folder: Folder of the export, which is created if missing.
        weights: Weights of the supernet by name.
        spec: Spec of the pool.
        class_names: Names of the classes in the order of the labels.
        subnets: Results of the evaluated subnets.
        half: Whether to store weights as float16, which halves the file. BN statistics, and
            tensors with a value that float16 cannot hold, stay float32.
        notes: What a user of the pool should know, in sentences.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    stored = {
        name: (_halved(name, value) if half else value).cpu().contiguous()
        for name, value in weights.items()
    }
    data = save(stored)
    (folder / WEIGHTS).write_bytes(data)
    export = PoolExport(
        searchd_version=version("searchd"),
        spec=spec,
        class_names=tuple(class_names),
        subnets=tuple(subnets),
        dtype="float16" if half else "float32",
        sha256=hashlib.sha256(data).hexdigest(),
        notes=tuple(notes),
    )
    (folder / DESCRIPTION).write_text(export.model_dump_json(indent=2) + "\n")
    return export


def _expected(export: PoolExport) -> dict[str, Tensor]:
    """Return the names, shapes and types of the supernet's weights, on the meta device."""
    space = export.spec.space.space
    largest = space.largest
    detector = export.spec.head.detector(
        space.architecture(largest), len(export.class_names), neck_channels=largest.neck_channels
    )
    with torch.device("meta"):  # only names and shapes are needed
        weights: dict[str, Tensor] = assemble(detector).state_dict()
    return weights


def _halved(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point() or name.rpartition(".")[2] in _BN_STATISTICS:
        return value
    half = value.half()
    return half if torch.isfinite(half).all() else value
