"""A search with any number of trials, written straight to a database: what a page or an endpoint
has to show after weeks of searching. The trials are invented; nothing is trained."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.orm import Session

from searchd.domain.actions import Action, AddLayer, Move, PruneChannels, PruneLayer, Rearrange
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.lifecycle import FailureCause, PoolStatus, SearchStatus, TrialStatus
from searchd.domain.resolution import Resolution
from searchd.domain.trial import MutateTeacher, Outcome, Proposal, Train, TrialRole
from searchd.messages.reports import SanityChecks
from searchd.spec import DatasetSpec, PoolSpec, SearchSpec, SplitSpec
from searchd.store import Database, paging
from searchd.store.base import now
from searchd.store.models import (
    ArtifactRow,
    DatasetRow,
    EvaluationRow,
    EventRow,
    PoolRow,
    RunRow,
    SearchRow,
    TrialRow,
)
from searchd.store.resources import datasets, pools, searches

RESOLUTIONS = (Resolution(96, 96), Resolution(128, 128))
TOP = 5
"""Number of best trials that parents are drawn from."""
EVERY_FAILURE, EVERY_SKIP = 53, 41
"""Every how many trials one fails, and one is skipped."""
_ACTIONS: tuple[Action | MutateTeacher, ...] = (
    MutateTeacher(),
    PruneChannels(),
    PruneLayer(),
    AddLayer(stage=3),
    Rearrange(stage=2, move=Move.LAST_TO_NEXT),
)
_GAIN = {"mutate_teacher": 0.001, "prune_channels": 0.003, "prune_layer": -0.002}
"""Mean gain in score of an action; -0.004 for all others."""


def fill(database: Database, name: str, num_trials: int, seed: int = 0) -> str:
    """Add a running search with a base and this number of search trials.

    Returns:
        The id of the search.
    """
    with database.write() as session:
        row = _search(session, name)
        trials = [_base(row), *_trials(row, num_trials, random.Random(seed))]
        session.add_all(trials)
        session.flush()
        session.add_all(_events(row, trials))
        counted = {"num_events": 2 * len(trials) + 1}
        session.execute(update(RunRow).where(RunRow.id == row.id).values(counted))
        return row.id


def _search(session: Session, name: str) -> SearchRow:
    """Return a new search that runs, on a data set and a pool that are made when missing."""
    if not paging.page(session, DatasetRow).items:
        split = SplitSpec(annotations=Path("/data/a.json"), images=Path("/data/images"))
        datasets.create(session, DatasetSpec(name="shapes", train=split, validation=split))
        classes = {"class_names": ["circle", "square", "triangle", "star"]}
        session.execute(update(DatasetRow).values(status="ready", summary=classes))
        pools.create(session, PoolSpec(name="teachers", dataset="shapes"))
        session.execute(update(PoolRow).values(status=PoolStatus.READY))
    budget = {"max_trials": 20_000, "finish": None}
    values = {"name": name, "dataset": "shapes", "pool": "teachers", "budget": budget}
    row = searches.create(session, SearchSpec.model_validate(values))
    changes = {"status": SearchStatus.RUNNING, "started_at": now() - timedelta(days=9)}
    session.execute(update(RunRow).where(RunRow.id == row.id).values(changes))
    session.refresh(row)
    return row


def _base(search: SearchRow) -> TrialRow:
    proposal = Proposal(
        role=TrialRole.BASE,
        number=0,
        parent=None,
        change=Train(),
        teacher=None,
        seed=0,
        completed_before=0,
    )
    return _succeeded(search, proposal, 0, score=0.31, macs=2e9, noise=random.Random(0))


def _trials(search: SearchRow, num_trials: int, draw: random.Random) -> Iterator[TrialRow]:
    """Yield trials that climb: each starts from one of the best so far."""
    space = PoolSpec(name="teachers", dataset="shapes").space.space
    best = [(0.31, "base", 2e9)]
    for number in range(num_trials):
        parent_score, parent, macs = draw.choice(best)
        action = draw.choice(_ACTIONS)
        proposal = Proposal(
            role=TrialRole.SEARCH,
            number=number,
            parent=parent,
            change=action,
            teacher=space.sample(draw),
            seed=number,
            completed_before=number,
        )
        if number % EVERY_FAILURE == EVERY_FAILURE - 1:
            yield _ended(search, proposal, TrialStatus.FAILED, "a loss became not a number")
            continue
        if number % EVERY_SKIP == EVERY_SKIP - 1:
            yield _ended(search, proposal, TrialStatus.SKIPPED, "nothing is left to prune")
            continue
        mean = _GAIN.get(action.kind, -0.004) * (0.6 - parent_score)
        score = min(0.58, parent_score + draw.gauss(mean, 0.003))
        macs *= {"prune_channels": 0.97, "prune_layer": 0.93, "add_layer": 1.06}.get(action.kind, 1)
        yield _succeeded(search, proposal, number + 1, score=score, macs=macs, noise=draw)
        best = sorted([*best, (score, proposal.name, macs)], reverse=True)[:TOP]


def _row(search: SearchRow, proposal: Proposal) -> TrialRow:
    position = 0 if proposal.role is TrialRole.BASE else proposal.number + 1
    started = now() - timedelta(minutes=1 + 20_000 - position)
    return TrialRow(
        id=f"{search.id}-{proposal.name}",
        run_id=search.id,
        name=proposal.name,
        role=proposal.role,
        position=position,
        parent_id=None if proposal.parent is None else f"{search.id}-{proposal.parent}",
        proposal=proposal,
        completion=position,
        attempt=1,
        busy_s=48.0,
        started_at=started,
        finished_at=started + timedelta(seconds=48),
    )


def _ended(search: SearchRow, proposal: Proposal, status: TrialStatus, reason: str) -> TrialRow:
    row = _row(search, proposal)
    row.status, row.status_reason = status, reason
    failed = status is TrialStatus.FAILED
    row.cause = FailureCause.NON_FINITE_LOSS if failed else None
    row.outcome = Outcome.FAILED if failed else Outcome.NO_OP
    return row


def _succeeded(
    search: SearchRow,
    proposal: Proposal,
    seed: int,
    *,
    score: float,
    macs: float,
    noise: random.Random,
) -> TrialRow:
    row = _row(search, proposal)
    row.status, row.status_reason, row.outcome = TrialStatus.SUCCEEDED, "scored", Outcome.SUCCEEDED
    row.detector = _detector(macs)
    row.params, row.base_macs, row.score = int(macs / 160) + seed % 7, macs, score
    taught = proposal.teacher is not None
    row.checks = SanityChecks(teacher_ap=0.4 + noise.gauss(0, 0.03) if taught else None)
    row.evaluations = [
        _evaluation(resolution, score * share * (macs / 2e9) ** 0.4, macs * scale, score * share)
        for resolution, share, scale in zip(RESOLUTIONS, (0.93, 1.0), (0.56, 1.0), strict=True)
    ]
    row.artifacts = [
        ArtifactRow(name="student", uri=f"/none/{row.id}", sha256="a" * 64, size_bytes=2_000_000)
    ]
    return row


def _detector(macs: float) -> Detector:
    channels = max(8, int(64 * (macs / 2e9) ** 0.5))
    return replace(_BASE, architecture=preset("resnet18", base_channels=channels))


_BASE = Detector(architecture=preset("resnet18"), num_classes=4)


def _evaluation(resolution: Resolution, ap: float, macs: float, score: float) -> EvaluationRow:
    return EvaluationRow(
        width=resolution.width,
        height=resolution.height,
        ap=ap,
        ap50=min(1.0, 1.5 * ap),
        ap75=0.9 * ap,
        ap_small=-1.0,
        ap_medium=0.8 * ap,
        ap_large=min(1.0, 1.2 * ap),
        macs=macs,
        latency_s=macs / 1.2e11,
        images_per_s=1.2e11 / macs,
        score=score,
    )


def _events(search: SearchRow, trials: list[TrialRow]) -> Iterator[EventRow]:
    """Yield two events of each trial; the first event is that of the search's creation."""
    for index, trial in enumerate(trials):
        for offset, status in enumerate(("pending", str(trial.status))):
            yield EventRow(
                resource_id=search.id,
                number=2 + 2 * index + offset,
                subject=trial.id,
                status=status,
                message=trial.status_reason,
            )
