"""Distillations in mid-course, that tests of the store, the API and the CLI start from."""

from dataclasses import replace
from typing import Any

from searchd.domain.distillation_plan import Choice, Plan
from searchd.domain.lifecycle import SearchStatus
from searchd.search.strategies.progressive_distillation import make_plan
from searchd.spec import DistillationSpec
from searchd.store import Database, Lease
from searchd.store.models import DistillationRow
from searchd.store.resources import distillations
from searchd.store.runs import trials
from searchd.store.work import queue
from tests.searchd.store.factories import (
    add_distillation,
    base_proposal,
    control_proposal,
    leased,
    run_trial,
    search_proposal,
    succeeded,
)

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


def run_base(database: Database, lease: Lease, ap: float = 0.25) -> None:
    """The student as given."""
    run_trial(database, lease, base_proposal(), succeeded("base", ap=ap))
