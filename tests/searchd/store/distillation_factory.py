"""Distillations in mid-course, that tests of the store, the API and the CLI start from."""

from dataclasses import replace
from typing import Any

from searchd.domain.distillation_plan import Baseline, Choice, Plan
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import FinalSplit, Train, TrainSwept
from searchd.messages.tasks import SplitMeasurement
from searchd.search.strategies.progressive_distillation import make_plan
from searchd.spec import DistillationSpec
from searchd.store import Database, Lease
from searchd.store.models import DistillationRow
from searchd.store.resources import distillations
from searchd.store.runs import split_evaluations, trials
from searchd.store.work import queue
from tests.searchd.store.factories import (
    LARGE,
    add_distillation,
    base_proposal,
    control_proposal,
    leased,
    run_trial,
    search_proposal,
    succeeded,
)

SWEPT = "trial.learning_rate"
COSTS = {
    "student": {"largest": 0.5, "smallest": 0.25},
    "largest": {"smallest": 0.0625},
    "smallest": {"largest": 0.125},
}


def start_distillation(
    database: Database, name: str = "mtpd", **changes: Any
) -> tuple[DistillationRow, Lease]:
    """A RUNNING one by the pool's largest and smallest subnets, and its driver's lease."""
    row = add_distillation(database, name, **changes)
    with leased(database, f"distillation-{row.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
    return row, lease


def choose_order(database: Database, lease: Lease, row: DistillationRow) -> Plan:
    """Record that smallest, then largest are to teach."""
    spec = row.spec
    assert isinstance(spec, DistillationSpec)
    reasons = {"smallest": "closest to largest", "largest": "the best teacher (AP 0.5)"}
    with database.write() as session:
        plan = make_plan(
            distillations.teachers(session, row),
            [
                Choice(teacher="smallest", cost=0.25, reason=reasons["smallest"]),
                Choice(teacher="largest", cost=0.125, reason=reasons["largest"]),
            ],
            study_up_to=spec.max_teachers if spec.study else 0,
            baselines=spec.baselines,
            performance={"largest": 0.5, "smallest": 0.25},
            costs=COSTS,
        )
        distillations.record_plan(session, lease, plan)
    return plan


def run_stage(
    database: Database, lease: Lease, number: int, parent: str, teacher: Any, ap: float
) -> None:
    """A stage that succeeded."""
    proposal = search_proposal(number, parent, teacher=teacher)
    run_trial(database, lease, proposal, succeeded(proposal.name, ap=ap))


def run_control(database: Database, lease: Lease, number: int, parent: str, ap: float) -> None:
    """A stage without a teacher that succeeded."""
    proposal = control_proposal(number, parent)
    run_trial(database, lease, proposal, succeeded(proposal.name, ap=ap))


def add_stage(database: Database, lease: Lease, number: int, parent: str, teacher: Any) -> None:
    """A stage that waits for a worker."""
    proposal = replace(search_proposal(number, parent), teacher=teacher)
    with database.write() as session:
        trials.add(session, lease, proposal)


def run_sweep(database: Database, name: str = "mtpd") -> tuple[DistillationRow, Lease]:
    """A sweep of the learning rate, by the largest subnet alone, of which the last value waits:
    AP 0.5 as submitted (0.01), 0.625 with 0.02, 0.25 without a teacher."""
    row, lease = start_distillation(
        database,
        name,
        sweep={"field": SWEPT, "values": [0.01, 0.02, 0.04]},
        trial={"resolutions": ["64x64", "96x96"], "learning_rate": 0.01},
        order=["largest"],
        baselines=["no_teacher"],
    )
    plan = plan_sweep(database, lease, row)
    run_base(database, lease)
    for number, change, ap in ((0, Train(), 0.5), (1, TrainSwept(field=SWEPT, value=0.02), 0.625)):
        proposal = search_proposal(number, change=change, teacher=plan.teachers["largest"])
        run_trial(database, lease, proposal, succeeded(proposal.name, ap=ap))
    run_control(database, lease, 1, "base", ap=0.25)
    return row, lease


def plan_sweep(database: Database, lease: Lease, row: DistillationRow) -> Plan:
    """Record that the largest subnet alone is to teach."""
    choice = Choice(teacher="largest", cost=None, reason="as submitted")
    with database.write() as session:
        teachers = distillations.teachers(session, row)
        plan = make_plan(teachers, [choice], baselines=[Baseline.NO_TEACHER])
        distillations.record_plan(session, lease, plan)
    return plan


def measure_sweep(database: Database, lease: Lease, *splits: FinalSplit) -> None:
    """Record what its driver measures at the end: the order with 0.02 is 10 points of AP better
    than as submitted on every resample, and without a teacher worse."""
    with database.write() as session:
        run_id = queue.get(session, lease.work_id).resource_id
        for name, ap in (("0", 0.4), ("1", 0.5), ("control-1", 0.2)):
            row = trials.get(session, trials.trial_id(run_id, name))
            (evaluation,) = (each for each in row.evaluations if each.resolution == LARGE)
            for split in splits:
                split_evaluations.record(session, lease, split, {evaluation.id: _measured(ap)})


def _measured(ap: float) -> SplitMeasurement:
    figures = dict.fromkeys(("ap50", "ap75", "ap_small", "ap_medium", "ap_large"), ap)
    resampled = tuple(ap + 0.0001 * (number - 50) for number in range(101))
    return SplitMeasurement(ap=ap, num_images=8, resampled=resampled, **figures)


def run_base(database: Database, lease: Lease, ap: float = 0.25) -> None:
    """The student as given."""
    run_trial(database, lease, base_proposal(), succeeded("base", ap=ap))
