"""What every attempt at a pool ends with, trained or imported: evaluated subnets and a report."""

from collections.abc import Callable, Generator

import torch

from detection.data.coco import CocoSplit
from elastic_pool.evaluation import evaluate_subnet, evaluated_subnets
from elastic_pool.supernet import Supernet
from searchd import artifacts
from searchd.domain.trial import Outcome
from searchd.messages.codecs import POOL_REPORT
from searchd.messages.files import REPORT_FILE
from searchd.messages.reports import EvaluatedSubnet, PoolProgress, PoolReport
from searchd.messages.tasks import PoolTrainingTask

Steps = Generator[PoolProgress, bool, PoolReport | None]


class Stopped(Exception):
    """A stop was requested. The generator of the attempt catches it."""


def evaluate_subnets(
    task: PoolTrainingTask,
    supernet: Supernet,
    splits: tuple[CocoSplit, CocoSplit],
    progress: Callable[[int, int], PoolProgress],
    *,
    device: torch.device | str,
) -> Generator[PoolProgress, bool, tuple[EvaluatedSubnet, ...]]:
    """Evaluate the subnets of the pool's spec, yielding a progress before each.

    Args:
        task: The attempt.
        supernet: The trained supernet.
        splits: Train, for BN reset, and validation, for AP.
        progress: Returns the progress from the number of evaluated subnets and of all.
        device: Where to compute.

    Raises:
        Stopped: False was sent.
    """
    train, validation = splits
    chosen = evaluated_subnets(supernet.space, task.spec.evaluated_subnets, seed=task.spec.seed)
    found: list[EvaluatedSubnet] = []
    for subnet in chosen:
        if not (yield progress(len(found), len(chosen))):
            raise Stopped
        found.append(
            evaluate_subnet(
                supernet, subnet, task.spec, train=train, validation=validation, device=device
            )
        )
    return tuple(found)


def stopped_report(task: PoolTrainingTask) -> PoolReport:
    """Return the report of an attempt that was stopped on request."""
    return PoolReport(
        pool=task.pool, attempt=task.attempt, outcome=Outcome.STOPPED, reason="stop requested"
    )


def write_report(task: PoolTrainingTask, report: PoolReport) -> None:
    """Write the report to the attempt's folder, which says that the attempt is complete.

    Raises:
        OSError: The store refuses the write.
    """
    uri = artifacts.join(task.artifacts, REPORT_FILE)
    artifacts.write(uri, POOL_REPORT.dump_json(report), name="report")
