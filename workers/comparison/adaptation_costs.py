"""Compares teachers, and a student with them, as Ray tasks: adaptation costs and APs.

MTPD section 3.2, docs/papers.md 2.3. Each teacher is built once, by a task of its own; then the
images are dealt to tasks that run every detector once per image, first to fit the maps and then to
measure them. Imports no detector: what the tasks do is `workers.comparison.steps`, and what they
hand to each other stays in Ray's object store.
"""

import importlib
from collections.abc import Callable
from typing import Any

import ray

from searchd.domain.distillation_plan import STUDENT_NAME
from searchd.messages.tasks import AdaptationCostTask, Comparison

STEPS = "workers.comparison.steps"
"""Module that the tasks import. Named and not imported: it needs seconds and half a gigabyte."""
POLL_S = 1.0
"""Seconds between two looks at whether to stop."""


class _Cancelled(Exception):
    """Told to stop; unwinds to `compare`."""


def compare(task: AdaptationCostTask, is_cancelled: Callable[[], bool]) -> Comparison | None:
    """Measure the costs and the teachers' APs. Ray must have been initialised; blocks.

    Args:
        order: What to compare.
        is_cancelled: Asked about every second, in this process.

    Returns:
        None if it was cancelled.

    Raises:
        RayTaskError: A task failed; its `cause` says why.
        RayError: A task was lost more often than Ray tries it again.
    """
    tasks = _Tasks(task)
    try:
        teachers = {
            name: tasks.start("prepare_teacher", task, name, num_returns=2)
            for name in task.teachers
        }
        aps = tasks.results([ap for ap, _ in teachers.values()], is_cancelled)
        performance = dict(zip(task.teachers, aps, strict=True))
        if not task.pairs:
            return Comparison(costs={}, performance=performance)
        weights = [teachers[name][1] for name in task.compared if name != STUDENT_NAME]
        parts = range(task.num_parts)
        sums = [tasks.start("gather_part", task, part, *weights) for part in parts]
        maps = tasks.start("fit", *sums)
        errors = [tasks.start("measure_part", task, part, maps, *weights) for part in parts]
        (costs,) = tasks.results([tasks.start("costs_of", task, *errors)], is_cancelled)
    except _Cancelled:
        return None
    return Comparison(costs=costs, performance=performance)


class _Tasks:
    """Steps started in the cluster, each with what a trial gets."""

    def __init__(self, task: AdaptationCostTask) -> None:
        self._remote: Any = ray.remote(num_cpus=task.cpus, num_gpus=task.gpus)(_run)
        self._started: list[Any] = []

    def start(self, step: str, *arguments: Any, num_returns: int = 1) -> Any:
        """References to what the step returns; it may be given others as arguments."""
        found = self._remote.options(num_returns=num_returns).remote(step, *arguments)
        self._started += found if num_returns > 1 else [found]
        return found

    def results(self, references: list[Any], is_cancelled: Callable[[], bool]) -> list[Any]:
        """
        Raises:
            _Cancelled: Before they were there.
        """
        while ray.wait(references, num_returns=len(references), timeout=POLL_S)[1]:
            if is_cancelled():
                for reference in self._started:
                    ray.cancel(reference)
                raise _Cancelled
        return list(ray.get(references))


def _run(step: str, *arguments: Any) -> Any:
    """What Ray runs in a worker."""
    return getattr(importlib.import_module(STEPS), step)(*arguments)
