"""Extends a driver's lease by heartbeats, and reads the user's requests. A thread; no Ray."""

import logging
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from searchd.domain.transitions import is_final
from searchd.store import Database, Desired, Lease
from searchd.store.base import now
from searchd.store.models import WorkRow
from searchd.store.work import queue

log = logging.getLogger(__name__)

EXIT_LEASE_LOST = 3
_LONGEST_INTERVAL_S = 2.0
"""The longest time between two heartbeats; a user's request is seen within it."""


class LeaseHeartbeat:
    """A context in which the lease is extended; ends the process when the lease is lost.

    A driver that has lost its lease must not write any more. The store refuses its writes anyway;
    ending at once frees the cluster for the driver that holds the lease now.

    Args:
        database: The database with the lease.
        lease: The lease to extend.
        lease_s: Seconds for which each heartbeat extends the lease.
        on_lost: Called when the lease is lost.

    Attributes:
        stopping: Set once the user asked to pause or cancel the work. It stays set even if the user
            resumes the work in the meantime: another driver then resumes it.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        *,
        lease_s: float,
        on_lost: Callable[[], None] = lambda: os._exit(EXIT_LEASE_LOST),
    ) -> None:
        self.stopping = threading.Event()
        self._database = database
        self._lease = lease
        self._lease_s = lease_s
        self._on_lost = on_lost
        self._left = threading.Event()
        self._kept_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="lease heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join()

    def beat(self) -> None:
        """Extend the lease once, and read the user's request."""
        with self._database.write() as session:
            kept = queue.extend(session, self._lease, lease_s=self._lease_s, now=now())
            row = queue.get(session, self._lease.work_id)
        if kept:
            self._kept_at = time.monotonic()
        elif row.lease != self._lease.number or not _may_be_our_doing(row):
            log.error("lease %d on %s was lost", self._lease.number, row.id)
            self._on_lost()
        # else: this driver has just finished the work
        if row.desired is not Desired.RUN and not self.stopping.is_set():
            log.info("%s: asked to %s by %s", row.id, row.desired, row.desired_by)
            self.stopping.set()

    def _run(self) -> None:
        while not self._left.wait(min(self._lease_s / 6, _LONGEST_INTERVAL_S)):
            try:
                self.beat()
            except SQLAlchemyError as error:
                log.warning("the lease could not be extended: %s", error)
                if time.monotonic() - self._kept_at > self._lease_s:
                    log.error("the lease has run out")
                    self._on_lost()


def _may_be_our_doing(work: WorkRow) -> bool:
    """Return whether the driver itself may have ended the work, rather than lost its lease."""
    return is_final(work.status) and work.desired is not Desired.KILL
