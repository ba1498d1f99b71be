"""Decides what a distillation trains, once its student and pool are ready, and says how it did.

Adaptation costs are kept in the database by what they depend on, so that they are measured once.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from itertools import permutations

from ray.exceptions import RayTaskError

from searchd.domain.distillation_plan import STUDENT_NAME, Choice, OrderAlgorithm, Plan, show
from searchd.domain.errors import SearchdError
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import Teacher
from searchd.domain.trial import BASE_NAME, Proposal
from searchd.driver.cluster import resolve
from searchd.driver.ledger import Ledger
from searchd.messages.tasks import AdaptationCostTask, Comparison, TeacherRef, device_of, threads_of
from searchd.search import teacher_order
from searchd.search.ask_tell import AskTell
from searchd.search.order_results import OrderResults, order_results
from searchd.search.strategies import progressive_distillation
from searchd.search.strategies.progressive_distillation import Progressive, end_of
from searchd.settings import Settings
from searchd.spec import SUBNET, DistillationSpec

log = logging.getLogger(__name__)

Costs = dict[str, dict[str, float]]


def needs_plan(ask_tell: AskTell) -> bool:
    """Whether the student of a distillation is ready, and its teachers are not chosen."""
    strategy = ask_tell.strategy
    return ask_tell.has_base and isinstance(strategy, Progressive) and strategy.plan is None


def make_plan(ledger: Ledger, settings: Settings, cancelled: threading.Event) -> str | None:
    """Choose the teachers, write the plan down and say why.

    Args:
        ledger: Of a distillation whose student and pool are ready.
        settings: Where the function that compares teachers is found.
        cancelled: Set when the user wants it stopped; then there may be no plan.

    Returns:
        In words, why it cannot be done; None if it could, or the user cancelled.
    """
    spec = _spec(ledger)
    try:
        found = _compared(ledger, settings, cancelled)
        if found is None:
            return None
        plan = plan_of(spec, ledger.run.teachers, found)
    except RayTaskError as error:
        log.exception("distillation %s: its teachers could not be compared", ledger.run_id)
        return f"its teachers could not be compared: {error.cause}"
    except SearchdError as error:
        log.exception("distillation %s: its teachers could not be ordered", ledger.run_id)
        return f"its teachers could not be ordered: {error}"
    ledger.write_plan(plan, explanation(plan, spec))
    return None


def plan_of(spec: DistillationSpec, teachers: Mapping[str, Teacher], found: Comparison) -> Plan:
    """The plan that follows from what was measured.

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
    """The plan in words, one message for each teacher."""
    how = f"by {spec.order}" if isinstance(spec.order, OrderAlgorithm) else "as submitted"
    messages = [f"teachers: {show(plan.order)}, {how}; {len(plan.stages)} stages are trained"]
    for number, choice in enumerate(plan.choices, start=1):
        ap = plan.performance.get(choice.teacher)
        facts = [str(plan.teachers[choice.teacher])]
        facts += [] if ap is None else [f"AP {ap:.3f}"]
        facts += [] if choice.cost is None else [f"adaptation cost {choice.cost:.4g}"]
        messages.append(f"teacher {number}, {choice.teacher} ({', '.join(facts)}): {choice.reason}")
    return messages


def compare_orders(ledger: Ledger) -> None:
    """Say how the student is after each sequence of a distillation that has ended."""
    plan, spec = ledger.plan(), ledger.spec
    if plan is None or not isinstance(spec, DistillationSpec):
        return
    resolution = _largest(spec.trial.resolutions)
    aps = {
        row.name: next(e.ap for e in row.evaluations if e.resolution == resolution)
        for row in ledger.scored()
    }
    proposals = ledger.ask_tell().proposals
    ledger.record_once("verdict", verdict(plan, spec, proposals, aps, resolution))


def verdict(
    plan: Plan,
    spec: DistillationSpec,
    proposals: Sequence[Proposal],
    aps: Mapping[str, float],
    resolution: Resolution,
) -> list[str]:
    """The student's AP after the order and after each baseline, and the order's rank in a study.

    Args:
        plan: Of the distillation.
        spec: What was submitted.
        proposals: All of the distillation.
        aps: By the trial's name, of those that succeeded.
        resolution: At which the APs were measured.
    """
    stood = order_results(plan, spec.baselines, proposals, aps)
    ends = {plan.order: stood.order}
    ends |= {end_of(baseline, plan.order): ap for baseline, ap in stood.baselines.items()}
    shown = [f"{show(end)} {ap:.3f}" for end, ap in ends.items() if ap is not None]
    messages = [f"AP at {resolution}: base {aps[BASE_NAME]:.3f}; {'; '.join(shown)}"]
    if spec.study:
        messages.append(_rank(plan, stood))
    return messages


def _rank(plan: Plan, stood: OrderResults) -> str:
    if stood.rank is None:
        return f"the order {show(plan.order)} was not completed and has no rank"
    return (
        f"the order {show(plan.order)} has rank {stood.rank} of {len(stood.orders)} trained orders"
    )


def _spec(ledger: Ledger) -> DistillationSpec:
    assert isinstance(ledger.spec, DistillationSpec)
    return ledger.spec


def _compared(ledger: Ledger, settings: Settings, cancelled: threading.Event) -> Comparison | None:
    """Costs and APs, of which only what nobody measured before is measured; None if cancelled."""
    if not isinstance(_spec(ledger).order, OrderAlgorithm):
        return Comparison(costs={}, performance={})
    teachers = ledger.teacher_references()
    pairs = [pair for pair in permutations([STUDENT_NAME, *teachers], 2) if pair[1] in teachers]
    task = _cost_task(ledger, teachers)
    of = {pair: _depends_on(task, pair) for pair in pairs}
    keys = {pair: _key(of[pair]) for pair in pairs}
    costs = ledger.known_costs(keys.values())
    missing = tuple(pair for pair in pairs if keys[pair] not in costs)
    message = f"{len(missing)} of {len(pairs)} adaptation costs of {len(teachers)} teachers"
    ledger.record_once("costs", [f"{message} are measured, the others are known"])
    task = task.model_copy(update={"pairs": missing})
    found: Comparison | None = resolve(settings.adaptation_costs)(task, cancelled.is_set)
    if found is None:
        return None
    for pair in missing:
        costs[keys[pair]] = found.costs[pair[0]][pair[1]]
        ledger.keep_cost(keys[pair], of[pair], costs[keys[pair]])
    by_name: Costs = {}
    for source, target in pairs:
        by_name.setdefault(source, {})[target] = costs[keys[source, target]]
    return Comparison(costs=by_name, performance=found.performance)


def _cost_task(ledger: Ledger, teachers: Mapping[str, Subnet | TeacherRef]) -> AdaptationCostTask:
    """To compare all teachers and the student, as far as pairs are asked for."""
    spec = _spec(ledger)
    resources, resolution = spec.resources, _largest(spec.trial.resolutions)
    return AdaptationCostTask(
        dataset=ledger.dataset,
        student=ledger.student(),
        pool=ledger.pool_reference(),
        teachers=dict(teachers),
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
    )


def _depends_on(task: AdaptationCostTask, pair: tuple[str, str]) -> dict[str, object]:
    """Everything that a cost is a function of, as JSON."""
    return {
        "dataset": task.dataset.model_dump(mode="json"),
        "normalize": task.normalize,
        "from": _features(task, pair[0]),
        "to": _features(task, pair[1]),
    }


def _features(task: AdaptationCostTask, name: str) -> dict[str, object]:
    """What a detector's features depend on."""
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
            training.batch_size,
            *map(str, training.resolutions),
        ],
        **seen,
    }


def _key(of: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def _largest(resolutions: Sequence[Resolution]) -> Resolution:
    """At which teachers are compared, as they are before each trial."""
    return max(resolutions, key=lambda r: r.width * r.height)
