"""What owners use: how many runs they have, and GPU-hours."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from searchd.domain.sharing import Owner
from searchd.store.models import RunRow, TrialRow
from searchd.store.resources.searches import ACTIVE


def running_by_owner(session: Session) -> Counter[Owner]:
    """Return the number of running searches and distillations of each owner."""
    return Counter(session.scalars(select(RunRow.owner).where(RunRow.status.in_(ACTIVE))))


def owners(session: Session, runs: Collection[str]) -> dict[str, Owner]:
    """Return the owner of each of these searches and distillations, by its id."""
    found = session.execute(select(RunRow.id, RunRow.owner).where(RunRow.id.in_(runs)))
    return {row.id: row.owner for row in found}


def gpu_hours(session: Session, owner: str, since: datetime) -> float:
    """Return the GPU-hours of an owner's trials that were created since then, whatever became of
    them; those of a running trial only once its attempt has ended."""
    busy = session.execute(
        select(TrialRow.run_id, func.sum(TrialRow.busy_s))
        .join(RunRow, RunRow.id == TrialRow.run_id)
        .where(RunRow.owner == owner, TrialRow.created_at >= since)
        .group_by(TrialRow.run_id)
    )
    seconds = (busy_s * _gpus(session, run) for run, busy_s in busy)
    return float(sum(seconds)) / 3600


def _gpus(session: Session, run: str) -> float:
    return session.get_one(RunRow, run).spec.resources.gpus_per_trial
