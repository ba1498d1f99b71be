"""A database with one large search, whose trials are copies of one with their own measurements."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import insert, select, text

from benchmarks.scale import stage
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import Proposal
from searchd.search.ask_tell import decide
from searchd.store import Database
from searchd.store.models import EvaluationRow, TrialRow
from searchd.store.runs import fronts

_OWN = ("id", "name", "position", "completion", "parent_id", "score")
"""The columns in which the copies differ."""
_BATCH = 5000


def fill(database: Database, folder: Path, num_trials: int) -> str:
    """Add a search that has ended with so many trials of three evaluations each; return its id."""
    ledger = stage.ledger_of(database, folder, stage.spec(num_trials, stage.SIZES[:3]))
    for _ in range(2):
        proposal = decide(ledger.strategy(), ledger.history)
        assert isinstance(proposal, Proposal)
        ledger.propose(proposal)
        task = ledger.task(proposal)
        ledger.start(task)
        ledger.record(stage.report_of(task))
    for start in range(1, num_trials, _BATCH):
        _copy(database, ledger.run_id, range(start, min(start + _BATCH, num_trials)))
    with database.write() as session:
        fronts.rebuild(session, ledger.run_id)
    ledger.finish(SearchStatus.SUCCEEDED, "benchmark", under=ledger.strategy())
    return ledger.run_id


def _copy(database: Database, run_id: str, numbers: range) -> None:
    """Add trials with these numbers: copies of trial 0."""
    columns = [each.name for each in TrialRow.__table__.columns if each.name not in _OWN]
    names = ", ".join(f'"{name}"' for name in columns)
    statement = text(
        f"INSERT INTO trials (id, name, position, completion, parent_id, score, {names}) "
        f"SELECT :id, :name, :position, :position, :parent, :score, {names} FROM trials "
        f"WHERE id = '{run_id}-0'"
    )
    rng = random.Random(numbers.start)
    with database.write() as session:
        session.execute(statement, [_trial(run_id, number, rng) for number in numbers])
        template = session.scalars(
            select(EvaluationRow).where(EvaluationRow.trial_id == f"{run_id}-0")
        ).all()
        evaluations = [
            row for number in numbers for row in _evaluations(run_id, number, template, rng)
        ]
        session.execute(insert(EvaluationRow), evaluations)


def _trial(run_id: str, number: int, rng: random.Random) -> dict[str, object]:
    parent = rng.randrange(max(0, number - 50), number)
    return {
        "id": f"{run_id}-{number}",
        "name": str(number),
        "position": number + 1,
        "parent": f"{run_id}-{parent}",
        "score": rng.random(),
    }


def _evaluations(
    run_id: str, number: int, template: Sequence[EvaluationRow], rng: random.Random
) -> Iterator[dict[str, object]]:
    """Yield measurements on which better detectors cost more, so that the front is long."""
    size = rng.random()
    for row in template:
        values = {
            each.name: getattr(row, each.name)
            for each in EvaluationRow.__table__.columns
            if each.name not in ("id", "trial_id")
        }
        macs = row.macs * (0.5 + size)
        ap = min(1.0, 0.7 * (macs / 1e10) ** 0.3 * (1 - 0.3 * rng.random() ** 2))
        yield {**values, "trial_id": f"{run_id}-{number}", "macs": macs, "ap": ap}
