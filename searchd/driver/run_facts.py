"""What of a run never changes once it is known: read from the database once by its driver."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.driver.run import Run
from searchd.driver.trial_scores import base_cost_of
from searchd.messages.tasks import PoolRef
from searchd.store.models import RunRow
from searchd.store.resources import pools


class RunFacts:
    """Remembers what never changes of one run. Not thread-safe.

    Args:
        run: The run, with its present pool.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pool: PoolRef | None = None
        self._base_cost: float | None = None
        self._started_at: datetime | None = None

    def pool(self, session: Session) -> PoolRef:
        """Return the pool as workers refer to it.

        Raises:
            ConflictError: The pool is not READY.
        """
        if self._pool is None:
            assert self._run.pool_id is not None  # where else would a subnet be from
            self._pool = pools.reference(session, self._run.pool_id)
        return self._pool

    def base_cost(self, session: Session) -> float | None:
        """Return what the base detector costs; None while it is not trained."""
        if self._base_cost is None:
            self._base_cost = base_cost_of(session, self._run)
        return self._base_cost

    def started_at(self, session: Session) -> datetime | None:
        """Return when the first driver of the run started; None before that."""
        if self._started_at is None:
            query = select(RunRow.started_at).where(RunRow.id == self._run.id)
            self._started_at = session.scalar(query)
        return self._started_at
