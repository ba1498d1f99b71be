"""Measurements after a search on the test and validation split."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.messages.tasks import SplitMeasurement
from searchd.store.models import EvaluationRow, FinalSplit, SplitEvaluationRow, TrialRow
from searchd.store.work.lease import Lease, hold

_DIGITS = 6
"""Decimal places of stored resamples."""


def record(
    session: Session, lease: Lease, split: FinalSplit, results: Mapping[int, SplitMeasurement]
) -> None:
    """Store measurements on a split.

    Args:
        session: A writing session.
        lease: The lease on the run.
        split: The split.
        results: The measurement, by the row id of the evaluation at the same resolution.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    hold(session, lease)
    for evaluation_id, result in results.items():
        values = result.model_dump(exclude={"resampled"})
        resampled = tuple(round(ap, _DIGITS) for ap in result.resampled)
        session.add(
            SplitEvaluationRow(
                evaluation_id=evaluation_id, split=split, resampled=resampled, **values
            )
        )


def of_evaluations(
    session: Session, evaluation_ids: Sequence[int], split: FinalSplit
) -> Mapping[int, SplitEvaluationRow]:
    """Return what was measured on a split of these evaluations, by the row id of each."""
    rows = session.scalars(
        select(SplitEvaluationRow).where(
            SplitEvaluationRow.evaluation_id.in_(evaluation_ids), SplitEvaluationRow.split == split
        )
    )
    return {row.evaluation_id: row for row in rows}


def measured(session: Session, run_id: str, split: FinalSplit) -> Mapping[int, SplitEvaluationRow]:
    """Return what was measured on a split, by the row id of the evaluation."""
    rows = session.scalars(
        select(SplitEvaluationRow)
        .join(EvaluationRow, EvaluationRow.id == SplitEvaluationRow.evaluation_id)
        .join(TrialRow, TrialRow.id == EvaluationRow.trial_id)
        .where(TrialRow.run_id == run_id, SplitEvaluationRow.split == split)
    )
    return {row.evaluation_id: row for row in rows}
