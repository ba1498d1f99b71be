"""The fronts that a run keeps are those of all its evaluations, whatever is recorded."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.trial import Evaluation, Outcome
from searchd.messages.reports import Report
from searchd.search.pareto import pareto_front
from searchd.store import Database, Lease, upgrade
from searchd.store.models import EvaluationRow, TrialRow
from searchd.store.runs import fronts, reports, trials
from searchd.store.runs.fronts import FrontKeeper
from tests.searchd.store.factories import (
    LARGE,
    SMALL,
    base_proposal,
    evaluation,
    run_trial,
    scores_of,
    search_proposal,
    start_search,
    succeeded,
)
from tests.strength import examples


def measured(rng: random.Random, name: str) -> Report:
    """A trial with few different values, so that many points are equal."""
    report = succeeded(name)
    found: list[Evaluation] = []
    for resolution in (SMALL, LARGE):
        values = evaluation(resolution, ap=rng.randint(1, 4) / 10, macs=float(rng.randint(1, 4)))
        found.append(values)
    return Report(
        trial=name,
        attempt=1,
        outcome=Outcome.SUCCEEDED,
        detector=report.detector,
        params=rng.randint(1, 3),
        base_macs=report.base_macs,
        evaluations=tuple(found),
        artifacts=report.artifacts,
    )


def test_detectors_of_boxes_are_on_no_front_of_masks(database: Database) -> None:
    row, lease = start_search(database)
    boxes = replace(evaluation(), mask_ap=None, mask_ap50=None)
    done = replace(succeeded("base"), evaluations=(boxes,))
    run_trial(database, lease, base_proposal(), done)

    with database.read() as session:
        assert len(fronts.on_front(session, [row.id], "macs", "ap")) == 1
        assert not fronts.on_front(session, [row.id], "macs", "mask_ap")
        assert fronts.default_accuracy(session, row.id) == "ap"


def by_brute_force(session: Session, run_id: str, x: str, y: str) -> list[int]:
    rows = session.execute(
        select(TrialRow, EvaluationRow)
        .join(EvaluationRow, EvaluationRow.trial_id == TrialRow.id)
        .where(TrialRow.run_id == run_id)
        .order_by(EvaluationRow.id)
    ).all()
    front = pareto_front(
        rows,
        cost=lambda row: float(fronts.COSTS[x](row[0], row[1]) or 0.0),
        value=lambda row: float(getattr(row[1], y)),
    )
    return sorted(row[1].id for row in front)


def check(database: Database, run_id: str) -> None:
    with database.read() as session:
        for x in fronts.COSTS:
            for y in fronts.ACCURACIES:
                kept = list(fronts.on_front(session, [run_id], x, y))
                assert kept == by_brute_force(session, run_id, x, y), (x, y)


def record(
    database: Database, lease: Lease, number: int, report: Report, keeper: FrontKeeper | None
) -> None:
    with database.write() as session:
        trials.add(session, lease, search_proposal(number))
        trials.start(session, lease, report.trial)
        reports.record(session, lease, report, scores_of(report), fronts=keeper)
    if keeper is not None:
        keeper.keep()


@settings(max_examples=examples(4, 60), deadline=None)
@given(seed=st.integers(0, 1000), keeps=st.booleans())
def test_kept_fronts_equal_those_by_brute_force_after_every_trial(seed: int, keeps: bool) -> None:
    rng, database = random.Random(seed), Database("sqlite:///:memory:")
    upgrade(database)
    row, lease = start_search(database)
    keeper = FrontKeeper(row.id) if keeps else None
    run_trial(database, lease, base_proposal())
    for number in range(8):
        record(database, lease, number, measured(rng, str(number)), keeper)
        check(database, row.id)
    database.close()


def test_latencies_that_are_measured_again_change_the_front(sqlite: Database) -> None:
    row, lease = start_search(sqlite)
    run_trial(sqlite, lease, base_proposal())
    run_trial(sqlite, lease, search_proposal(0), succeeded("0", ap=0.6))
    with sqlite.write() as session:
        ids = session.scalars(select(EvaluationRow.id).order_by(EvaluationRow.id)).all()
        trials.record_latencies(session, lease, {each: (1.0 / each, 1.0) for each in ids})
    check(sqlite, row.id)


def test_transaction_that_is_rolled_back_leaves_no_point(sqlite: Database) -> None:
    row, lease = start_search(sqlite)
    run_trial(sqlite, lease, base_proposal())
    keeper = FrontKeeper(row.id)
    with sqlite.write() as session:
        trials.add(session, lease, search_proposal(0))
        trials.start(session, lease, "0")
        report = succeeded("0", ap=0.9)
        reports.record(session, lease, report, scores_of(report), fronts=keeper)
        session.rollback()

    record(sqlite, lease, 0, succeeded("0", ap=0.55), keeper)
    check(sqlite, row.id)
