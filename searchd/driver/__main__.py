"""Do one piece of work: `python -m searchd.driver --work ID [--lease NUMBER]`.

The coordinator starts this as a Ray job and passes the lease that it took. Started by hand, for
debugging, the driver takes a lease itself. Exit code 0: the work is done, even if its result is a
failure. Any other exit code: the driver crashed, and a new driver resumes from what is stored.
"""

import argparse
import logging
import os
import socket
import sys
from contextlib import closing

from searchd import logs
from searchd import settings as settings_module
from searchd.domain.errors import ConflictError, StaleLeaseError
from searchd.domain.lifecycle import WorkKind
from searchd.driver.dataset_check import run_dataset_check
from searchd.driver.detector_export import run_export
from searchd.driver.device_table import run_device
from searchd.driver.lease_heartbeat import EXIT_LEASE_LOST, LeaseHeartbeat
from searchd.driver.ledger import Ledger
from searchd.driver.pool_training import run_pool
from searchd.driver.teacher_evaluation import run_teacher
from searchd.driver.teacher_training import run_teacher_training
from searchd.driver.trial_loop import run_search
from searchd.settings import Settings
from searchd.store import Database, Lease
from searchd.store.base import now
from searchd.store.reconnecting import RetryingDatabase
from searchd.store.work import queue

log = logging.getLogger("searchd.driver")

RUNS = (WorkKind.SEARCH, WorkKind.DISTILLATION)
"""The kinds of work that consist of trials."""


def main() -> None:
    arguments = _parse(sys.argv[1:])
    settings = settings_module.load()
    logs.configure(settings.log_format)
    opened = RetryingDatabase(settings.database, timeout_s=settings.lease_s)
    with closing(opened) as database:
        lease = (
            _take_lease(database, arguments.work, settings)
            if arguments.lease is None
            else Lease(arguments.work, arguments.lease)
        )
        try:
            with LeaseHeartbeat(database, lease, lease_s=settings.lease_s) as heartbeat:
                carry_out(database, lease, heartbeat, settings)
        except StaleLeaseError as error:
            log.error("%s", error)
            sys.exit(EXIT_LEASE_LOST)


def carry_out(
    database: Database, lease: Lease, heartbeat: LeaseHeartbeat, settings: Settings
) -> None:
    """Do the leased work, of any kind."""
    with database.read() as session:
        work = queue.get(session, lease.work_id)
    kind = work.kind
    of_search = {"search": work.resource_id} if kind in RUNS else {}
    logs.identify(work=work.id, **of_search)
    log.info("%s: started under lease %d", lease.work_id, lease.number)
    match kind:
        case WorkKind.DATASET_CHECK:
            run_dataset_check(database, lease, settings)
        case WorkKind.POOL:
            run_pool(database, lease, settings, heartbeat.stopping)
        case WorkKind.TEACHER:
            run_teacher(database, lease, settings)
        case WorkKind.TEACHER_TRAINING:
            run_teacher_training(database, lease, settings, heartbeat.stopping)
        case WorkKind.EXPORT:
            run_export(database, lease, settings)
        case WorkKind.DEVICE:
            run_device(database, lease, settings)
        case WorkKind.SEARCH | WorkKind.DISTILLATION:
            run_search(Ledger(database, lease, settings), settings, heartbeat.stopping)
    log.info("%s: done", lease.work_id)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m searchd.driver", description=__doc__)
    parser.add_argument(
        "--work", required=True, metavar="ID", help="id of the work, such as search-s-7f3k2m"
    )
    parser.add_argument(
        "--lease",
        type=int,
        metavar="NUMBER",
        help="number of a lease that was taken already; by default the driver takes one",
    )
    return parser.parse_args(arguments)


def _take_lease(database: Database, work_id: str, settings: Settings) -> Lease:
    owner = f"driver {socket.gethostname()}:{os.getpid()}, started by hand"
    with database.write() as session:
        lease = queue.lease(session, work_id, owner=owner, lease_s=settings.lease_s, now=now())
        row = queue.get(session, work_id)
    if lease is None:
        raise ConflictError(
            f"{work_id} is {row.status} and cannot be leased now: {row.status_reason}"
        )
    return lease


if __name__ == "__main__":
    main()
