"""Measures teachers' APs and the adaptation costs among them and a student, as Ray tasks.

MTPD section 3.2, docs/papers.md 2.3. Each teacher is built once, by its own task. Then the images
are divided among tasks that run every detector once per image, first to fit the maps and then to
measure their errors. Imports no detector: `workers.comparison.steps` has the work of each task.
Results that one task passes to another stay in Ray's object store.
"""

import importlib
from collections.abc import Callable
from typing import Any

import ray

from searchd.domain.distillation_plan import STUDENT_NAME
from searchd.messages.tasks import AdaptationCostTask, Comparison

STEPS = "workers.comparison.steps"
"""Module that the tasks import. It is named and not imported here, because importing it takes
seconds and half a gigabyte."""
POLL_S = 1.0
"""Seconds between two checks whether the comparison was cancelled."""


class _Cancelled(Exception):
    """The comparison was cancelled. `compare` catches it."""


def compare(task: AdaptationCostTask, is_cancelled: Callable[[], bool]) -> Comparison | None:
    """Measure the costs and the teachers' APs. Blocks; Ray must have been initialised.

    Args:
        task: What to compare.
        is_cancelled: Called about every second in this process.

    Returns:
        None if it was cancelled.

    Raises:
        RayTaskError: A task failed; its `cause` says why.
        RayError: A task was lost more often than Ray retries it.
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
    """Steps that were started in the cluster, each with the resources of a trial."""

    def __init__(self, task: AdaptationCostTask) -> None:
        self._remote: Any = ray.remote(num_cpus=task.cpus, num_gpus=task.gpus)(_run)
        self._started: list[Any] = []

    def start(self, step: str, *arguments: Any, num_returns: int = 1) -> Any:
        """Start a step and return references to its results. Arguments may be references too."""
        found = self._remote.options(num_returns=num_returns).remote(step, *arguments)
        self._started += found if num_returns > 1 else [found]
        return found

    def results(self, references: list[Any], is_cancelled: Callable[[], bool]) -> list[Any]:
        """Wait for results and return them.

        Raises:
            _Cancelled: The comparison was cancelled first.
        """
        while ray.wait(references, num_returns=len(references), timeout=POLL_S)[1]:
            if is_cancelled():
                for reference in self._started:
                    ray.cancel(reference)
                raise _Cancelled
        return list(ray.get(references))


def _run(step: str, *arguments: Any) -> Any:
    """Do one step in a worker process of Ray."""
    return getattr(importlib.import_module(STEPS), step)(*arguments)
