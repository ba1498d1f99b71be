"""Extends the pool of a search whose teachers are too weak, before its first search trial."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.lifecycle import PoolStatus, SearchStatus
from searchd.search.better_teachers import extension_epochs
from searchd.spec import PoolSpec, SearchSpec
from searchd.spec.pool import next_name
from searchd.store.models import PoolRow, RunRow
from searchd.store.resources import pools
from searchd.store.runs import teacher_aps
from searchd.store.work import queue
from searchd.store.work.lease import Lease, hold


def extend_weak_pool(session: Session, lease: Lease) -> str | None:
    """Create a pool that trains the last phase of a search's pool further, and let the search use
    it, if its spec asks for that and the teachers are too weak. `teacher_aps.record` comes later.

    The search waits for the new pool as it did for the first one. Repeating the call after a crash
    has the same effect as calling it once.

    Returns:
        The id of the new pool; None if the search keeps its pool.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = session.get_one(RunRow, hold(session, lease).resource_id, populate_existing=True)
    spec = row.spec
    if not isinstance(spec, SearchSpec) or spec.extend_pool is None or row.pool_id is None:
        return None
    pool = session.get_one(PoolRow, row.pool_id)
    may_change = row.status is SearchStatus.PREPARING and pool.status is PoolStatus.READY
    comparison = teacher_aps.comparison(session, row) if may_change else None
    if comparison is None or row.teacher_aps is not None:
        return None
    epochs = extension_epochs(
        comparison,
        margin=spec.extend_pool.margin,
        step=pool.spec.phases[-1].epochs,
        left=spec.extend_pool.max_epochs - _spent(session, pool, str(spec.pool)),
    )
    if epochs == 0:
        return None
    made = pools.create(session, _extension(session, pool.spec, epochs), owner=row.owner)
    row.pool_id = made.id
    queue.record_once(
        session,
        lease,
        f"extends:{pool.id}",
        [
            f"the best teacher has AP {comparison.best_ap:.1%}, the base "
            f"{comparison.student_ap:.1%}: the last phase of pool {pool.name} is trained for "
            f"{epochs} more epochs, as pool {made.name}"
        ],
    )
    return made.id


def _extension(session: Session, pool: PoolSpec, epochs: int) -> PoolSpec:
    """Return the spec of the longer training, with the next name that is free."""
    name = next_name(pool.name)
    while session.scalar(select(PoolRow.id).where(PoolRow.name == name)) is not None:
        name = next_name(name)
    return pool.extended(epochs=epochs, name=name)


def _spent(session: Session, pool: PoolRow, first: str) -> int:
    """Return the epochs by which a pool continues the one that the search names."""
    spent = 0
    while pool.name != first and pool.spec.start_from is not None:
        spent += sum(phase.epochs for phase in pool.spec.phases)
        pool = pools.get(session, pool.spec.start_from)
    return spent
