"""Decides what a progressive search trains, once base and pool are ready, and says how it did.

Costs and APs are kept in the artifact store by what they depend on, so that they are measured once:
see decision 13.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from itertools import permutations

from ray.exceptions import RayTaskError

from searchd import artifacts
from searchd.domain.errors import SearchdError
from searchd.domain.progression import STUDENT_NAME, Path, Plan, show
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.teacher_order import Choice, OrderAlgorithm
from searchd.domain.trial import BASE_NAME, Proposal
from searchd.driver.cluster import resolve
from searchd.driver.ledger import Ledger
from searchd.search import teacher_order
from searchd.search.strategies import progressive
from searchd.search.strategies.progressive import Progressive, rank_among_orders, trials_of
from searchd.search.strategy import Strategy
from searchd.settings import Settings
from searchd.spec import SUBNET, Comparison, CostsOrder, ProgressiveSpec, teachers_of

log = logging.getLogger(__name__)

Costs = dict[str, dict[str, float]]


def needs_plan(strategy: Strategy) -> bool:
    """Whether the base of a progressive search is ready, and its teachers are not chosen."""
    rules = strategy.rules
    return strategy.has_base and isinstance(rules, Progressive) and rules.plan is None


def make_plan(ledger: Ledger, settings: Settings, cancelled: threading.Event) -> str | None:
    """Choose the teachers, write the plan down and say why.

    Args:
        ledger: Of a progressive search whose base and pool are ready.
        settings: Where the function that compares teachers is found.
        cancelled: Set when the user wants the search stopped; then there may be no plan.

    Returns:
        In words, why it cannot be done; None if it could, or the user cancelled.
    """
    spec = ledger.spec
    assert isinstance(spec.strategy, ProgressiveSpec)
    teachers = teachers_of(spec, ledger.pool_spec)
    try:
        found = _compared(ledger, settings, teachers, cancelled)
        if found is None:
            return None
        plan = plan_of(spec.strategy, teachers, found)
    except RayTaskError as error:
        log.exception("search %s: its teachers could not be compared", ledger.search_id)
        return f"its teachers could not be compared: {error.cause}"
    except SearchdError as error:
        log.exception("search %s: its teachers could not be ordered", ledger.search_id)
        return f"its teachers could not be ordered: {error}"
    # Killed in between, the next driver finds the same plan, from what was kept, and goes on here.
    ledger.announce(explanation(plan, spec.strategy))
    ledger.write_plan(plan)
    return None


def plan_of(spec: ProgressiveSpec, teachers: Mapping[str, Subnet], found: Comparison) -> Plan:
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
    return progressive.make_plan(
        teachers,
        choices,
        study_up_to=spec.max_teachers if spec.study else 0,
        baselines=spec.baselines,
        performance=found.performance,
        costs=found.costs,
    )


def explanation(plan: Plan, spec: ProgressiveSpec) -> list[str]:
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
    """Say how the student is after each sequence of a progressive search that has ended."""
    plan, spec = ledger.plan(), ledger.spec.strategy
    if plan is None or not isinstance(spec, ProgressiveSpec):
        return
    resolution = _largest(ledger.spec.trial.resolutions)
    aps = {
        row.name: next(e.ap for e in row.evaluations if e.resolution == resolution)
        for row in ledger.scored()
    }
    proposals = ledger.strategy().proposals
    ledger.announce(verdict(plan, spec, proposals, aps, resolution))


def verdict(
    plan: Plan,
    spec: ProgressiveSpec,
    proposals: Sequence[Proposal],
    aps: Mapping[str, float],
    resolution: Resolution,
) -> list[str]:
    """The student's AP after the order and after each baseline, and the order's rank in a study.

    Args:
        plan: Of the search.
        spec: What was submitted.
        proposals: All of the search.
        aps: By the trial's name, of those that succeeded.
        resolution: At which the APs were measured.
    """
    trials = trials_of(plan, proposals)
    by_stage = {stage: aps[p.name] for stage, p in trials.items() if p.name in aps}
    length = len(plan.order)
    ends: list[Path] = [plan.order, (plan.order[-1],) * length, (None,) * length]
    shown = [f"{show(end)} {by_stage[end]:.3f}" for end in dict.fromkeys(ends) if end in by_stage]
    messages = [f"AP at {resolution}: base {aps[BASE_NAME]:.3f}; {'; '.join(shown)}"]
    if spec.study:
        messages.append(_rank(plan, by_stage))
    return messages


def _rank(plan: Plan, aps: Mapping[Path, float]) -> str:
    ranked = rank_among_orders(plan, aps)
    if ranked is None:
        return f"the order {show(plan.order)} was not completed and has no rank"
    rank, num_orders = ranked
    return f"the order {show(plan.order)} has rank {rank} of {num_orders} trained orders"


def _compared(
    ledger: Ledger,
    settings: Settings,
    teachers: Mapping[str, Subnet],
    cancelled: threading.Event,
) -> Comparison | None:
    """Costs and APs, of which only what nobody measured before is measured; None if cancelled."""
    spec = ledger.spec.strategy
    assert isinstance(spec, ProgressiveSpec)
    if not isinstance(spec.order, OrderAlgorithm):
        return Comparison(costs={}, performance={})
    shelf = _Shelf(ledger, settings, teachers)
    pairs = [pair for pair in permutations([STUDENT_NAME, *teachers], 2) if pair[1] in teachers]
    known = {pair: cost for pair in pairs if (cost := shelf.cost(pair)) is not None}
    missing = tuple(pair for pair in pairs if pair not in known)
    message = f"{len(missing)} of {len(pairs)} adaptation costs of {len(teachers)} teachers"
    ledger.announce([f"{message} are measured, the others are known"])
    order = shelf.order(missing)
    found: Comparison | None = resolve(settings.adaptation_costs)(order, cancelled.is_set)
    if found is None:
        return None
    for pair in missing:
        known[pair] = found.costs[pair[0]][pair[1]]
        shelf.keep(pair, known[pair])
    costs: Costs = {}
    for (source, target), cost in known.items():
        costs.setdefault(source, {})[target] = cost
    return Comparison(costs=costs, performance=found.performance)


class _Shelf:
    """The costs that were measured before, each under what it depends on."""

    def __init__(self, ledger: Ledger, settings: Settings, teachers: Mapping[str, Subnet]) -> None:
        self._ledger = ledger
        self._teachers = teachers
        self._student = ledger.student()
        self._pool = ledger.pool_reference()
        self._folder = artifacts.join(settings.artifact_root, "adaptation-costs")

    def cost(self, pair: tuple[str, str]) -> float | None:
        """C(A, B), if it was measured."""
        uri = self._uri(pair)
        return float(artifacts.read_json(uri)["cost"]) if artifacts.exists(uri) else None

    def keep(self, pair: tuple[str, str], cost: float) -> None:
        """C(A, B) was measured."""
        document = {"from": pair[0], "to": pair[1], "cost": cost, "of": self._key(pair)}
        artifacts.write(self._uri(pair), json.dumps(document).encode(), name="cost")

    def order(self, pairs: tuple[tuple[str, str], ...]) -> CostsOrder:
        """To measure these costs, and the teachers' APs."""
        spec = self._ledger.spec
        assert isinstance(spec.strategy, ProgressiveSpec)
        resources = spec.resources
        return CostsOrder(
            dataset=self._ledger.dataset,
            student=self._student,
            pool=self._pool,
            teachers=dict(self._teachers),
            pairs=pairs,
            resolution=_largest(spec.trial.resolutions),
            normalize=spec.strategy.normalize,
            training=spec.trial,
            num_parts=resources.trials_in_flight,
            cpus=resources.cpus_per_trial,
            gpus=resources.gpus_per_trial,
            num_threads=max(1, int(resources.cpus_per_trial)),
            device="cuda" if resources.gpus_per_trial > 0 else "cpu",
        )

    def _uri(self, pair: tuple[str, str]) -> str:
        key = json.dumps(self._key(pair), sort_keys=True).encode()
        return artifacts.join(self._folder, f"{hashlib.sha256(key).hexdigest()}.json")

    def _key(self, pair: tuple[str, str]) -> dict[str, object]:
        spec = self._ledger.spec
        assert isinstance(spec.strategy, ProgressiveSpec)
        return {
            "dataset": self._ledger.dataset.model_dump(mode="json"),
            "resolution": str(_largest(spec.trial.resolutions)),
            "normalize": spec.strategy.normalize,
            "from": self._weights(pair[0]),
            "to": self._weights(pair[1]),
        }

    def _weights(self, name: str) -> dict[str, object]:
        """What a detector's features depend on."""
        if name == STUDENT_NAME:
            return {"sha256": self._student.student.sha256}
        training = self._ledger.spec.trial
        return {
            "sha256": self._pool.supernet.sha256,
            "subnet": SUBNET.dump_python(self._teachers[name], mode="json"),
            "bn_reset": [
                self._pool.bn_reset_images,
                training.batch_size,
                *map(str, training.resolutions),
            ],
        }


def _largest(resolutions: Sequence[Resolution]) -> Resolution:
    """At which teachers are compared, as they are before each trial."""
    return max(resolutions, key=lambda r: r.width * r.height)
