"""Progressive distillation: the stages of a plan, each a trial that inherits its parent's student.

MTPD sections 3.2 and 4.1, docs/papers.md 2.4 and 2.6. The teachers and their order are decided
before the first stage (`make_plan`). The stages then form a tree: sequences with the same beginning
share their first stages, and a stage may run once its parent has succeeded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from searchd.domain.distillation_plan import Baseline, Choice, Plan, TeacherSequence, show
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import SimultaneousTeachers, Teacher
from searchd.domain.trial import (
    BASE_NAME,
    Outcome,
    Proposal,
    Train,
    TrainSwept,
    TrialRole,
)
from searchd.search.completions import Completions
from searchd.search.history import Wait
from searchd.search.proposals import Proposals
from searchd.search.strategies.base import Strategy
from searchd.search.teacher_order import all_orders, prefix_tree, rank_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressive(Strategy):
    """Proposes every stage of a plan, parents first. Stages after a failed stage are skipped."""

    control: bool = False
    """The plan decides whether there is a training without a teacher; its trials are controls."""
    plan: Plan | None = None
    """None while the teachers are not chosen: nothing is proposed."""
    swept: tuple[TrainSwept, ...] = ()
    """Values of a setting with each of which the order is trained once more."""

    def stop_reason(self, proposals: Proposals, completions: Completions) -> str | None:
        if self.plan is None:
            return None
        courses = list(self._courses(self.plan, proposals, completions))
        ended = sum(
            completions.find(trial.name) is not None
            for course in courses
            for trial in course.trials.values()
        )
        reachable = sum(
            course.parent(stage) is not None for course in courses for stage in course.stages
        )
        if ended < reachable:
            return None
        skipped = sum(len(course.stages) for course in courses) - reachable
        return f"progressive: {ended} stages" + (
            f"; {skipped} more were skipped because an earlier stage failed" if skipped else ""
        )

    def propose(self, proposals: Proposals, completions: Completions) -> Proposal | Wait:
        if self.plan is None:
            return Wait("the teachers are not chosen yet")
        for course in self._courses(self.plan, proposals, completions):
            for stage in course.stages:
                parent = course.parent(stage)
                if stage not in course.trials and parent is not None:
                    return self._proposal(course, stage, parent, proposals, completions)
        return Wait("the stages that the others inherit from are running")

    def _courses(
        self, plan: Plan, proposals: Proposals, completions: Completions
    ) -> Iterator["_Course"]:
        """Yield the stages as submitted, then those of the order with each value of the sweep."""
        for swept in (None, *self.swept):
            trials = trials_of(plan, proposals, swept)
            yield _Course(plan, swept, stages_of(plan, swept), trials, completions)

    def _proposal(
        self,
        course: "_Course",
        stage: TeacherSequence,
        parent: str,
        proposals: Proposals,
        completions: Completions,
    ) -> Proposal:
        teacher = stage[-1]
        role = TrialRole.CONTROL if teacher is None else TrialRole.SEARCH
        number = len(proposals.of_role(role))
        return Proposal(
            role=role,
            number=number + 1 if role is TrialRole.CONTROL else number,
            parent=parent,
            change=course.swept or Train(),
            teacher=None if teacher is None else course.plan.teachers[teacher],
            # From the stage, not from the number, which depends on which stage ended first. Values
            # of a sweep are compared with equal seeds.
            seed=self.generator(show(stage)).getrandbits(31),
            completed_before=len(completions),
        )


@dataclass(frozen=True, slots=True)
class _Course:
    """Stages that are trained alike, and their trials so far."""

    plan: Plan
    swept: TrainSwept | None
    stages: tuple[TeacherSequence, ...]
    trials: Mapping[TeacherSequence, Proposal]
    completions: Completions

    def parent(self, stage: TeacherSequence) -> str | None:
        """Return the name of the trial that a stage inherits from, or None unless it has
        succeeded."""
        if len(stage) == 1:
            return BASE_NAME
        parent = self.trials.get(stage[:-1])
        ended = None if parent is None else self.completions.find(parent.name)
        if ended is None or ended.outcome is not Outcome.SUCCEEDED:
            return None
        return ended.proposal.name


def neck_widths(teachers: Mapping[str, object], choices: Sequence[Choice]) -> tuple[int, ...]:
    """Return the different neck widths of the chosen subnets, in ascending order. Those of
    registered teachers are known to workers only."""
    chosen = [teachers[choice.teacher] for choice in choices]
    return tuple(sorted({each.neck_channels for each in chosen if isinstance(each, Subnet)}))


def make_plan(
    teachers: Mapping[str, Teacher],
    choices: Sequence[Choice],
    *,
    study_up_to: int = 0,
    baselines: Sequence[Baseline] = (),
    performance: Mapping[str, float] | None = None,
    costs: Mapping[str, Mapping[str, float]] | None = None,
) -> Plan:
    """Return the plan that trains an order and its baselines.

    An order of one teacher has no baseline with simultaneous teachers, and subnets of different
    neck widths have none that averages their features.

    Args:
        teachers: All teachers, by name.
        choices: The order with its reasons; not empty.
        study_up_to: Also train every ordered subset of up to this many teachers.
        baselines: Baselines with as many stages as the order has.
        performance: AP of every teacher, if the choice depended on it.
        costs: Adaptation costs, if the choice depended on them.
    """
    order: TeacherSequence = tuple(choice.teacher for choice in choices)
    together = {
        baseline.value: SimultaneousTeachers(
            teachers=tuple(teachers[choice.teacher] for choice in choices),
            definition=baseline.definition,
        )
        for baseline in baselines
        if baseline.definition is not None and len(choices) > 1
        if baseline is not Baseline.AVERAGE_FEATURES or len(neck_widths(teachers, choices)) < 2
    }
    studied = all_orders(list(teachers), study_up_to) if study_up_to else []
    ends = [end_of(baseline, order) for baseline in baselines]
    known = {*teachers, *together, None}
    wanted: list[TeacherSequence] = [order, *studied, *(end for end in ends if end[0] in known)]
    return Plan(
        teachers={**teachers, **together},
        choices=tuple(choices),
        stages=tuple(prefix_tree(wanted)),
        performance=dict(performance or {}),
        costs={source: dict(targets) for source, targets in (costs or {}).items()},
    )


def end_of(baseline: Baseline, order: TeacherSequence) -> TeacherSequence:
    """Return the last stage of a baseline, which has as many stages as the order."""
    match baseline:
        case Baseline.DIRECT:
            return (order[-1],) * len(order)
        case Baseline.NO_TEACHER:
            return (None,) * len(order)
        case _:
            return (baseline.value,) * len(order)


def stages_of(plan: Plan, swept: TrainSwept | None) -> tuple[TeacherSequence, ...]:
    """Return the stages that are trained with a value of the sweep, parents first; those of the
    order. None: all that are trained as submitted."""
    return plan.stages if swept is None else tuple(prefix_tree([plan.order]))


def trials_of(
    plan: Plan, proposals: Sequence[Proposal], swept: TrainSwept | None = None
) -> dict[TeacherSequence, Proposal]:
    """Return the trial of each proposed stage, in the plan's order.

    A trial's parent and teacher determine its stage.

    Args:
        plan: The plan with the stages.
        proposals: All proposals of the distillation.
        swept: The value of the sweep whose stages are wanted. None: the stages as submitted.
    """
    by_place = {(p.parent, p.teacher): p for p in proposals if _swept(p) == swept}
    found: dict[TeacherSequence, Proposal] = {}
    for stage in stages_of(plan, swept):
        parent = BASE_NAME if len(stage) == 1 else None
        if stage[:-1] in found:
            parent = found[stage[:-1]].name
        teacher = None if stage[-1] is None else plan.teachers[stage[-1]]
        proposal = by_place.get((parent, teacher))
        if parent is not None and proposal is not None:
            found[stage] = proposal
    return found


def _swept(proposal: Proposal) -> TrainSwept | None:
    return proposal.change if isinstance(proposal.change, TrainSwept) else None


def rank_among_orders(plan: Plan, aps: Mapping[TeacherSequence, float]) -> tuple[int, int] | None:
    """Return the order's rank among all trained orders by the student's AP, and their number
    (docs/papers.md 2.4). Baselines do not count as orders.

    Args:
        plan: The plan with the order.
        aps: The student's AP after each stage that succeeded.

    Returns:
        The rank, from 1, and the number of orders; None if the order was not completed.
    """
    orders = {stage: ap for stage, ap in aps.items() if plan.is_order(stage)}
    if plan.order not in orders:
        return None
    return rank_of(plan.order, orders), len(orders)
