"""The breakdowns of evaluations: AP by class and by kind of error."""

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.trial import Evaluation
from searchd.store.models import BreakdownRow, EvaluationRow, TrialRow


def add(session: Session, rows: Iterable[EvaluationRow], evaluations: Iterable[Evaluation]) -> None:
    """Store the breakdowns of evaluations whose rows are stored; both are in one order."""
    session.flush()  # gives the rows their ids
    session.add_all(
        BreakdownRow.of(evaluation.breakdown, row.id)
        for row, evaluation in zip(rows, evaluations, strict=True)
        if evaluation.breakdown is not None
    )


def of_trial(session: Session, trial_id: str) -> Sequence[tuple[EvaluationRow, BreakdownRow]]:
    """Return the evaluations of a trial that have breakdowns, with them, in the order of the
    evaluations."""
    found = session.execute(
        select(EvaluationRow, BreakdownRow)
        .join(BreakdownRow, BreakdownRow.evaluation_id == EvaluationRow.id)
        .where(EvaluationRow.trial_id == trial_id)
        .order_by(EvaluationRow.id)
    )
    return [(evaluation, breakdown) for evaluation, breakdown in found]


def class_names(session: Session, run_id: str) -> list[str]:
    """Return the classes whose APs were measured in a run, in the order of the data set; empty if
    none was."""
    aps = session.scalar(
        select(BreakdownRow.class_aps)
        .join(EvaluationRow, EvaluationRow.id == BreakdownRow.evaluation_id)
        .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
        .where(TrialRow.run_id == run_id)
        .limit(1)
    )
    return list(aps or ())
