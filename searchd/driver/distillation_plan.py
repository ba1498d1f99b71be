"""Makes the plan of a distillation once its student and pool are ready, and compares its results.

Adaptation costs are stored in the database by what they depend on, so each is measured once.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Self

from ray.exceptions import RayTaskError
from sqlalchemy.orm import Session

from searchd.domain.distillation_plan import (
    STUDENT_NAME,
    Baseline,
    Choice,
    OrderAlgorithm,
    Plan,
    show,
)
from searchd.domain.errors import SearchdError
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import RegisteredTeacher, Teacher
from searchd.domain.trial import BASE_NAME, Proposal, scalar_text
from searchd.driver.cluster import resolve
from searchd.driver.ledger import Ledger
from searchd.driver.run import Run
from searchd.driver.trial_tasks import student_of
from searchd.messages.tasks import (
    AdaptationCostTask,
    Comparison,
    Inherited,
    PoolRef,
    TeacherRef,
    device_of,
    gpu_memory_of,
    threads_of,
)
from searchd.search import teacher_order
from searchd.search.growing_history import History
from searchd.search.order_results import OrderResults, order_results
from searchd.search.strategies import progressive_distillation
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.progressive_distillation import Progressive, end_of
from searchd.search.sweep_results import swept_ends
from searchd.settings import Settings
from searchd.spec import DatasetSpec, DistillationSpec
from searchd.spec.codecs import SUBNET
from searchd.store import Lease
from searchd.store.resources import distillations, pools, teachers
from searchd.store.runs import adaptation_costs
from searchd.store.work import queue

log = logging.getLogger(__name__)

Costs = dict[str, dict[str, float]]


def needs_plan(strategy: Strategy, history: History) -> bool:
    """Return whether the student of a distillation is ready and its teachers are not chosen yet."""
    return history.has_base and isinstance(strategy, Progressive) and strategy.plan is None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInputs:
    """Everything that the plan of a distillation depends on, besides what is measured for it."""

    spec: DistillationSpec
    dataset: DatasetSpec
    teachers: Mapping[str, Teacher]
    """All that may teach, by the names that the order uses."""
    references: Mapping[str, Subnet | TeacherRef]
    """The same teachers as a worker finds them."""
    student: Inherited
    """The trained base as a worker finds it."""
    pool: PoolRef | None
    """The trained pool as a worker finds it; None if no teacher is from a pool."""

    @classmethod
    def of(cls, session: Session, run: Run) -> Self:
        """Read them from the database.

        Args:
            session: A reading session.
            run: A distillation whose student and pool are ready.

        Raises:
            ConflictError: The student, the pool or a registered teacher is not ready.
        """
        assert isinstance(run.spec, DistillationSpec)
        return cls(
            spec=run.spec,
            dataset=run.dataset,
            teachers=run.teachers,
            references={
                name: teachers.reference(session, teacher.teacher)
                if isinstance(teacher, RegisteredTeacher)
                else teacher
                for name, teacher in run.teachers.items()
            },
            student=student_of(session, run, BASE_NAME),
            pool=None if run.pool_id is None else pools.reference(session, run.pool_id),
        )


def make_plan(ledger: Ledger, settings: Settings, cancelled: threading.Event) -> str | None:
    """Choose the teachers, and record the plan with the reasons for it.

    Args:
        ledger: The ledger of a distillation whose student and pool are ready.
        settings: Where the function that compares teachers is found.
        cancelled: Set when the user wants the distillation stopped; then there may be no plan.

    Returns:
        Why no plan can be made, as a sentence; None if one was made or the user cancelled.
    """
    try:
        inputs = ledger.read(PlanInputs.of, ledger.run)
        found = _compared(ledger, inputs, settings, cancelled)
        if found is None:
            return None
        plan = plan_of(inputs.spec, inputs.teachers, found)
    except RayTaskError as error:
        log.exception("distillation %s: its teachers could not be compared", ledger.run_id)
        return f"its teachers could not be compared: {error.cause}"
    except SearchdError as error:
        log.exception("distillation %s: its teachers could not be ordered", ledger.run_id)
        return f"its teachers could not be ordered: {error}"
    ledger.write(_record, plan, explanation(plan, inputs.spec))
    return None


def plan_of(spec: DistillationSpec, teachers: Mapping[str, Teacher], found: Comparison) -> Plan:
    """Return the plan that follows from what was measured.

    Args:
        spec: The distillation.
        teachers: All teachers, by the names that the order uses.
        found: Adaptation costs and the teachers' APs; empty if the order was submitted.

    Raises:
        InvalidValueError: See `teacher_order.choose`.
    """
    if isinstance(spec.order, OrderAlgorithm):
        pool = teacher_order.Pool(
            student=STUDENT_NAME,
            performance={name: found.performance[name] for name in teachers},
            costs=found.costs,
            max_teachers=spec.max_teachers,
        )
        choices = teacher_order.choose(spec.order, pool)
    else:
        choices = [Choice(teacher=name, cost=None, reason="as submitted") for name in spec.order]
    return progressive_distillation.make_plan(
        teachers,
        choices,
        study_up_to=spec.max_teachers if spec.study else 0,
        baselines=spec.baselines,
        performance=found.performance,
        costs=found.costs,
    )


def explanation(plan: Plan, spec: DistillationSpec) -> list[str]:
    """Return messages that explain the plan: a summary, and one message for each teacher."""
    how = f"by {spec.order}" if isinstance(spec.order, OrderAlgorithm) else "as submitted"
    num_stages = len(plan.stages) + len(spec.swept) * len(plan.order)
    messages = [f"teachers: {show(plan.order)}, {how}; {num_stages} stages are trained"]
    for number, choice in enumerate(plan.choices, start=1):
        ap = plan.performance.get(choice.teacher)
        facts = [str(plan.teachers[choice.teacher])]
        facts += [] if ap is None else [f"AP {ap:.3f}"]
        facts += [] if choice.cost is None else [f"adaptation cost {choice.cost:.4g}"]
        messages.append(f"teacher {number}, {choice.teacher} ({', '.join(facts)}): {choice.reason}")
    widths = progressive_distillation.neck_widths(plan.teachers, plan.choices)
    if Baseline.AVERAGE_FEATURES in spec.baselines and len(widths) > 1:
        messages.append(
            f"the baseline average_features is left out: the teachers' necks have "
            f"{', '.join(map(str, widths))} channels, and only features of one width can be "
            "averaged; mean_of_losses can combine them"
        )
    return messages


def compare_orders(ledger: Ledger) -> None:
    """Record events with the student's AP after each sequence of a distillation that has ended."""
    plan, spec = ledger.row().plan, ledger.spec
    if plan is None or not isinstance(spec, DistillationSpec):
        return
    resolution = _largest(spec.trial.resolutions)
    aps = {
        row.name: next(
            e.of(spec.score.accuracy) for e in row.evaluations if e.resolution == resolution
        )
        for row in ledger.scored()
    }
    messages = verdict(plan, spec, ledger.history.proposals, aps, resolution)
    ledger.write(queue.record_once, "verdict", messages)


def verdict(
    plan: Plan,
    spec: DistillationSpec,
    proposals: Sequence[Proposal],
    aps: Mapping[str, float],
    resolution: Resolution,
) -> list[str]:
    """Return messages with the student's AP after the order and after each baseline, and with the
    order's rank in a study.

    Args:
        plan: The plan of the distillation.
        spec: The distillation as submitted.
        proposals: All proposals of the distillation.
        aps: AP of each trial that succeeded, by the trial's name.
        resolution: The resolution at which the APs were measured.
    """
    stood = order_results(plan, spec.baselines, proposals, aps)
    ends = {plan.order: stood.order}
    ends |= {end_of(baseline, plan.order): ap for baseline, ap in stood.baselines.items()}
    shown = [f"{show(end)} {ap:.3f}" for end, ap in ends.items() if ap is not None]
    messages = [f"AP at {resolution}: base {aps[BASE_NAME]:.3f}; {'; '.join(shown)}"]
    if spec.study:
        messages.append(_rank(plan, stood))
        if stood.cost_and_gain is not None:
            messages.append(
                "Kendall's tau of adaptation cost and gain in AP, over the stages of all orders: "
                f"{stood.cost_and_gain:+.2f}"
            )
    if spec.sweep is not None:
        messages.append(_of_sweep(plan, spec, proposals, aps))
    return messages


def _of_sweep(
    plan: Plan, spec: DistillationSpec, proposals: Sequence[Proposal], aps: Mapping[str, float]
) -> str:
    assert spec.sweep is not None  # it is asked for where there is one
    ends = swept_ends(plan, spec.compared_values, (), proposals)
    trained = [(end.value, end.trial.name) for end in ends if end.trial is not None]
    shown = [
        f"{scalar_text(value)} {f'{aps[name]:.3f}' if name in aps else 'failed'}"
        for value, name in trained
    ]
    return f"AP by {spec.sweep.field}: {'; '.join(shown)}"


def _rank(plan: Plan, stood: OrderResults) -> str:
    if stood.rank is None:
        return f"the order {show(plan.order)} was not completed and has no rank"
    return (
        f"the order {show(plan.order)} has rank {stood.rank} of {len(stood.orders)} trained orders"
    )


def _record(session: Session, lease: Lease, plan: Plan, messages: Sequence[str]) -> None:
    distillations.record_plan(session, lease, plan)
    queue.record_once(session, lease, "plan", messages)


def _compared(
    ledger: Ledger, inputs: PlanInputs, settings: Settings, cancelled: threading.Event
) -> Comparison | None:
    """Return adaptation costs and APs, or None if cancelled. Only costs that are not in the
    database are measured."""
    if not isinstance(inputs.spec.order, OrderAlgorithm):
        return Comparison(costs={}, performance={})
    targets = inputs.references
    pairs = [pair for pair in permutations([STUDENT_NAME, *targets], 2) if pair[1] in targets]
    task = _cost_task(inputs, settings)
    of = {pair: _depends_on(task, pair) for pair in pairs}
    keys = {pair: _key(of[pair]) for pair in pairs}
    costs = ledger.read(adaptation_costs.known, keys.values())
    missing = tuple(pair for pair in pairs if keys[pair] not in costs)
    message = f"{len(missing)} of {len(pairs)} adaptation costs of {len(targets)} teachers"
    note = f"{message} are measured, the others are known"
    ledger.write(queue.record_once, "costs", [note])
    task = task.model_copy(update={"pairs": missing})
    found: Comparison | None = resolve(settings.adaptation_costs)(task, cancelled.is_set)
    if found is None:
        return None
    measured = {pair: found.costs[pair[0]][pair[1]] for pair in missing}
    ledger.write(_keep_costs, [(keys[pair], of[pair], cost) for pair, cost in measured.items()])
    costs |= {keys[pair]: cost for pair, cost in measured.items()}
    by_name: Costs = {}
    for source, target in pairs:
        by_name.setdefault(source, {})[target] = costs[keys[source, target]]
    return Comparison(costs=by_name, performance=found.performance)


def _keep_costs(
    session: Session, lease: Lease, costs: Sequence[tuple[str, Mapping[str, object], float]]
) -> None:
    """Store costs, each with its key and what it depends on."""
    del lease  # a cost that was measured is right, whoever has the lease now
    for key, of, cost in costs:
        adaptation_costs.keep(session, key, of, cost)


def _cost_task(inputs: PlanInputs, settings: Settings) -> AdaptationCostTask:
    """Return the task that compares all teachers and the student, without the pairs."""
    spec = inputs.spec
    resources, resolution = spec.resources, _largest(spec.trial.resolutions)
    return AdaptationCostTask(
        dataset=inputs.dataset,
        student=inputs.student,
        pool=inputs.pool,
        teachers=dict(inputs.references),
        pairs=(),
        resolution=spec.teacher_resolution or resolution,
        student_resolution=resolution,
        normalize=spec.normalize,
        training=spec.trial,
        num_parts=resources.trials_in_flight,
        cpus=resources.cpus_per_trial,
        gpus=resources.gpus_per_trial,
        num_threads=threads_of(resources.cpus_per_trial),
        device=device_of(resources.gpus_per_trial),
        gpu_memory=gpu_memory_of(resources.gpus_per_trial, limited=settings.limit_gpu_memory),
    )


def _depends_on(task: AdaptationCostTask, pair: tuple[str, str]) -> dict[str, object]:
    """Return everything that the cost of a pair depends on, as JSON."""
    return {
        "dataset": task.dataset.model_dump(mode="json"),
        "normalize": task.normalize,
        "from": _features(task, pair[0]),
        "to": _features(task, pair[1]),
    }


def _features(task: AdaptationCostTask, name: str) -> dict[str, object]:
    """Return everything that a detector's features depend on, as JSON."""
    if name == STUDENT_NAME:
        weights = task.student.student.sha256
        return {"sha256": weights, "resolution": str(task.student_resolution)}
    seen = {"resolution": str(task.resolution)}
    teacher = task.teachers[name]
    if isinstance(teacher, TeacherRef):
        return {"sha256": teacher.weights.sha256, **seen}
    assert task.pool is not None  # where the subnet is from
    training = task.training
    return {
        "sha256": task.pool.supernet.sha256,
        "subnet": SUBNET.dump_python(teacher, mode="json"),
        "bn_reset": [
            task.pool.bn_reset_images,
            training.bn_reset_batch_size,
            *map(str, training.resolutions),
        ],
        **seen,
    }


def _key(of: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def _largest(resolutions: Sequence[Resolution]) -> Resolution:
    """Return the resolution at which teachers are compared."""
    return max(resolutions, key=lambda r: r.width * r.height)
