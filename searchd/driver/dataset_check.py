"""Runs the check of a data set on the cluster, where its files can be read."""

from typing import Any

import ray

from searchd.domain.errors import DataError
from searchd.domain.lifecycle import DatasetStatus
from searchd.driver.cluster import connect, resolve
from searchd.settings import Settings
from searchd.spec import DatasetSpec
from searchd.store import Database, Lease
from searchd.store.models import DatasetRow
from searchd.store.resources import datasets
from searchd.store.work import queue


def run_dataset_check(database: Database, lease: Lease, settings: Settings) -> DatasetStatus:
    """Check every file of the data set and record the result.

    Returns:
        READY, or FAILED with the faults, by file and record, in its reason.
    """
    with database.read() as session:
        row = session.get_one(DatasetRow, queue.get(session, lease.work_id).resource_id)
    connect(settings)
    summary, problem = ray.get(_check.remote(settings.dataset_check, row.spec))
    with database.write() as session:
        if summary is not None:
            return datasets.record_ready(session, lease, summary)
        queue.finish(session, lease, DatasetStatus.FAILED, problem)
        return DatasetStatus.FAILED


# It reserves no CPU: it is short and mostly reads, and must not wait for trials that take hours.
@ray.remote(num_cpus=0)
def _check(path: str, spec: DatasetSpec) -> tuple[dict[str, Any] | None, str]:
    """Return the summary of the check, or None and why the data set is refused.

    An unforeseen error refuses it too: the check would raise it again at each attempt.
    """
    try:
        return resolve(path)(spec), ""
    except DataError as error:
        return None, str(error)
    except Exception as error:
        return None, f"the check failed with an unforeseen {type(error).__name__}: {error}"
