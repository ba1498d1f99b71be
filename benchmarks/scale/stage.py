"""A running search without workers: its database, its ledger, and reports that are made up."""

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import postgresql
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.lifecycle import PoolStatus, SearchStatus
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Artifact, Evaluation, Outcome
from searchd.driver.ledger import Ledger
from searchd.messages.reports import PoolReport, Report
from searchd.messages.tasks import TrialTask
from searchd.settings import Settings
from searchd.spec import BudgetSpec, DatasetSpec, PoolSpec, SearchSpec, SplitSpec, TrainingSpec
from searchd.store import Database, Lease, upgrade
from searchd.store.resources import datasets, pools, searches
from searchd.store.work import queue

NAME = "scale"
SIZES = tuple(Resolution(side, side) for side in (96, 128, 160, 192))
"""Resolutions at which every trial is evaluated."""
LEASE_S = 36_000.0
NO_LIMIT = 10**9
_DETECTOR = Detector(architecture=preset("resnet18"), num_classes=4)


@contextmanager
def database_url(backend: str, folder: Path) -> Iterator[str]:
    """Yield the URL of a new, upgraded database whose commits wait for the disk."""
    if backend == "sqlite":
        url = f"sqlite:///{folder / 'searchd.sqlite'}"
        upgrade(url)
        yield url
        return
    with postgresql.running(durable=True) as server, server.database("scale") as url:
        upgrade(url)
        yield url


@contextmanager
def opened(backend: str, folder: Path) -> Iterator[Database]:
    """Yield an open database; see `database_url`."""
    with database_url(backend, folder) as url, closing(Database(url)) as database:
        yield database


def spec(max_trials: int, sizes: tuple[Resolution, ...] = SIZES, **changes: object) -> SearchSpec:
    """Return a search of so many trials that finishes nothing and has no controls."""
    given = {
        "name": NAME,
        "dataset": NAME,
        "pool": NAME,
        "trial": TrainingSpec(resolutions=sizes),
        "budget": BudgetSpec(max_trials=max_trials, patience=NO_LIMIT, finish=None),
        "control": False,
    }
    return SearchSpec.model_validate({**given, **changes})


def ledger_of(database: Database, folder: Path, search: SearchSpec) -> Ledger:
    """Submit a search with its data set and its pool, and take it up as its driver."""
    split = SplitSpec(annotations=folder / "train.json", images=folder)
    with database.write() as session:
        data = datasets.create(session, DatasetSpec(name=NAME, train=split, validation=split))
    with database.write() as session:
        lease = _lease(database, f"dataset_check-{data.id}")
        datasets.record_ready(session, lease, {"class_names": ["a", "b", "c", "d"]})
    with database.write() as session:
        pool = pools.create(session, PoolSpec(name=NAME, dataset=NAME))
    _make_ready(database, pool.id)
    with database.write() as session:
        row = searches.create(session, search)
    lease = _lease(database, f"search-{row.id}")
    with database.write() as session:
        for status in (SearchStatus.PREPARING, SearchStatus.RUNNING):
            queue.advance(session, lease, status, "benchmark")
    return Ledger(database, lease, Settings(data_folder=folder))


def report_of(task: TrialTask) -> Report:
    """Return a success, whose APs and multiply-accumulates depend on the seed of the trial."""
    rng = random.Random(task.proposal.seed)
    quality, size = rng.random(), 0.5 + rng.random()
    return Report(
        trial=task.proposal.name,
        attempt=task.attempt,
        outcome=Outcome.SUCCEEDED,
        detector=_DETECTOR,
        params=12_345_678,
        base_macs=4e9 * size,
        evaluations=tuple(_evaluation(each, quality, size) for each in task.evaluated_at),
        artifacts=tuple(_artifact(task.proposal.name, each) for each in ("student", "adapters")),
    )


def _evaluation(resolution: Resolution, quality: float, size: float) -> Evaluation:
    share = resolution.area / SIZES[-1].area
    ap = 0.1 + 0.5 * quality * size**0.3 * share**0.2
    return Evaluation(
        resolution=resolution,
        ap=ap,
        ap50=min(1.0, 1.4 * ap),
        ap75=0.9 * ap,
        ap_small=-1.0,
        ap_medium=0.8 * ap,
        ap_large=ap,
        macs=4e9 * size * share,
        latency_s=0.02 * size * share,
        images_per_s=50.0 / (size * share),
    )


def _artifact(folder: str, name: str) -> Artifact:
    uri = f"/artifacts/{folder}/{name}"
    return Artifact(name=name, uri=uri, sha256="a" * 64, size_bytes=7)


def _make_ready(database: Database, pool_id: str) -> None:
    lease = _lease(database, f"pool-{pool_id}")
    report = PoolReport(
        pool=pool_id, attempt=1, outcome=Outcome.SUCCEEDED, supernet=_artifact("pool", "supernet")
    )
    with database.write() as session:
        queue.advance(session, lease, PoolStatus.TRAINING, "benchmark")
        pools.record_report(session, lease, report)


def _lease(database: Database, work_id: str) -> Lease:
    with database.write() as session:
        now = datetime.now(UTC)
        lease = queue.lease(session, work_id, owner="benchmark", lease_s=LEASE_S, now=now)
    assert lease is not None  # nobody else is there
    return lease
