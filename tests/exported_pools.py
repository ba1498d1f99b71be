"""Exports of small pools with random weights, for the tests of their import."""

from pathlib import Path

import torch

from detection.exported_pool import write_pool_export
from elastic_pool.supernet import Supernet
from searchd.messages.pool_export import PoolExport, SubnetResult
from searchd.spec import PoolSpec
from tests.elastic_pool.tiny import TINY_SPACE, make_pool_spec

CLASSES = ("circle", "square", "triangle")


def write_tiny_export(
    folder: Path, *, class_names: tuple[str, ...] = CLASSES, half: bool = False
) -> PoolExport:
    """Write the export of a pool of `make_pool_spec` with random weights."""
    spec = make_pool_spec()
    torch.manual_seed(3)
    supernet = Supernet(spec.space.space, spec.head, len(class_names))
    return write_pool_export(
        folder,
        supernet.weights(),
        spec,
        class_names=class_names,
        subnets=[result(spec)],
        half=half,
        notes=("trained for a test",),
    )


def result(spec: PoolSpec) -> SubnetResult:
    """The largest subnet with an AP of 0.5."""
    return SubnetResult(
        subnet=TINY_SPACE.largest,
        params=1000,
        resolution=spec.space.resolutions[0],
        macs=1e6,
        ap=0.5,
    )
