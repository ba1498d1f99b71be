"""Keeps a driver's lease alive, and sees what the user wants meanwhile. A thread; no Ray."""

import logging
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from searchd.domain.lifecycle import is_final
from searchd.store import Database, Desired, Lease
from searchd.store.base import now
from searchd.store.models import WorkRow
from searchd.store.work import queue

log = logging.getLogger(__name__)

EXIT_LEASE_LOST = 3
_LONGEST_INTERVAL_S = 2.0
"""Between two looks at the database; what a user wants is seen within it."""


class LeaseHeartbeat:
    """Extends the lease until left; ends the process when the lease is lost.

    A driver whose lease was lost must not write any more. The store refuses its writes anyway;
    ending at once frees the cluster for the driver that holds the lease now.

    Args:
        database: Holds the lease.
        lease: To be kept.
        lease_s: How long each extension lasts.
        on_lost: Called when the lease is lost.

    Attributes:
        stopping: Set once the user wants the work stopped: paused or cancelled. Stays set, also
            when the user has it resumed meanwhile: then another driver goes on.
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
        self._thread = threading.Thread(target=self._run, name="lease keeper", daemon=True)

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
        """Extend the lease once, and look at what the user wants."""
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
    """Whether a driver that holds the lease may itself have ended it so."""
    return is_final(work.status) and work.desired is not Desired.KILL
