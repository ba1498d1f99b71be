"""The import of a pool that another service, or this one, has trained and exported.

The folder is checked again here, since it can have changed after the submission, and the API may
not see the disks of the workers. Its subnets are evaluated on the data set of the import.
"""

from pathlib import Path

import torch

from detection.data.coco import CocoSplit
from detection.exported_pool import read_supernet
from detection.stored_weights import write_weights
from elastic_pool.supernet import Supernet
from searchd.domain.errors import CheckpointError
from searchd.domain.trial import Outcome
from searchd.messages.files import SUPERNET
from searchd.messages.pool_export import (
    DESCRIPTION,
    IMPORT_PHASE,
    PoolExport,
    check_classes,
    other_fields,
    read_description,
)
from searchd.messages.reports import PoolProgress, PoolReport
from searchd.messages.tasks import PoolTrainingTask
from workers.pool.results import Steps, Stopped, evaluate_subnets, stopped_report, write_report
from workers.torch_settings import configure_torch


def import_steps(
    task: PoolTrainingTask, folder: Path, *, device: torch.device | str, rank: int = 0
) -> Steps:
    """Import a pool; see `workers.pool.steps.pool_steps`. Only the first worker does something.

    Raises:
        CheckpointError: The folder is no export of a pool, a file is damaged, or its classes are
            not those of the data set.
        DataError: The data set cannot be read.
        OSError: The artifact store refuses a write.
    """
    if rank > 0:
        return None
    configure_torch(task)
    splits = CocoSplit(task.dataset.train), CocoSplit(task.dataset.validation)
    export = _checked(task, folder, splits[0].class_names)
    supernet = Supernet(task.spec.space.space, task.spec.head, splits[0].num_classes)
    supernet.load(read_supernet(folder))

    def progress(done: int, num_subnets: int) -> PoolProgress:
        return _progress(task, done, num_subnets)

    try:
        subnets = yield from evaluate_subnets(task, supernet, splits, progress, device=device)
    except Stopped:
        return stopped_report(task)
    report = PoolReport(
        pool=task.pool,
        attempt=task.attempt,
        outcome=Outcome.SUCCEEDED,
        supernet=write_weights(task.artifacts, SUPERNET, supernet.weights()),
        subnets=subnets,
        notes=export.notes,
    )
    write_report(task, report)
    return report


def _checked(task: PoolTrainingTask, folder: Path, class_names: tuple[str, ...]) -> PoolExport:
    """Return the description, which must be of the pool that was submitted, for these classes."""
    export = read_description(folder)
    check_classes(folder, export, class_names)
    differing = other_fields(task.spec, export)
    if differing:
        raise CheckpointError(
            f"the submitted spec has another {differing[0]} than {folder / DESCRIPTION}; where the "
            "API cannot read that file, the spec must repeat its space, head, phases and training, "
            "as `searchd pool import` does"
        )
    return export


def _progress(task: PoolTrainingTask, done: int, num_subnets: int) -> PoolProgress:
    return PoolProgress(
        pool=task.pool,
        attempt=task.attempt,
        stage="evaluate",
        phase=IMPORT_PHASE,
        epoch=1,
        num_epochs=1,
        iteration=done,
        num_iterations=num_subnets,
        losses={},
    )
