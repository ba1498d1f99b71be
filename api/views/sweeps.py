"""Conversion of the rows of a swept distillation to a comparison of its values."""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from api.schemas import distillations as schemas
from api.views.resources import split_ap
from searchd.domain.accuracy import ApKind
from searchd.domain.distillation_plan import Plan
from searchd.domain.trial import FinalSplit
from searchd.search.intervals import difference
from searchd.search.sweep_results import SweptEnd, best_end, swept_ends
from searchd.search.verdict import conclusion_of
from searchd.spec import DistillationSpec
from searchd.store.models import EvaluationRow, SplitEvaluationRow, TrialRow
from searchd.store.runs import split_evaluations

Measured = Mapping[FinalSplit, SplitEvaluationRow]
"""What was measured of a student after the last trial."""


def sweep(
    session: Session,
    spec: DistillationSpec,
    plan: Plan,
    rows: Sequence[TrialRow],
    evaluations: Mapping[str, EvaluationRow],
) -> schemas.Sweep:
    """Return the students of a sweep, each with what is known of it so far.

    Args:
        session: A reading session.
        spec: A distillation with a sweep.
        plan: Its plan.
        rows: Its trials.
        evaluations: The evaluation of each trial that succeeded, all at one resolution, by the
            trial's name.
    """
    assert spec.sweep is not None  # it is asked for where there is one
    kind, proposals = spec.score.accuracy, [row.proposal for row in rows]
    ends = swept_ends(plan, spec.compared_values, spec.baselines, proposals)
    best = best_end(ends, {name: each.of(kind) for name, each in evaluations.items()})
    measured = _measured(session, ends, evaluations)
    (reference,) = (index for index, end in enumerate(ends) if end.as_submitted)
    ids = {row.name: row.id for row in rows}
    return schemas.Sweep(
        field=spec.sweep.field,
        students=[
            _student(end, ids, evaluations, found, measured[reference], kind)
            for end, found in zip(ends, measured, strict=True)
        ],
        best=best and best.value,
    )


def _measured(
    session: Session, ends: Sequence[SweptEnd], evaluations: Mapping[str, EvaluationRow]
) -> list[Measured]:
    """Return the measurements on each split, for each end."""
    own = [None if end.trial is None else evaluations.get(end.trial.name) for end in ends]
    ids = [each.id for each in own if each is not None]
    by_split = {
        split: split_evaluations.of_evaluations(session, ids, split) for split in FinalSplit
    }
    return [
        {
            split: found[each.id]
            for split, found in by_split.items()
            if each is not None and each.id in found
        }
        for each in own
    ]


def _student(
    end: SweptEnd,
    ids: Mapping[str, str],
    evaluations: Mapping[str, EvaluationRow],
    measured: Measured,
    reference: Measured,
    kind: ApKind,
) -> schemas.SweptStudent:
    trial = None if end.trial is None else end.trial.name
    evaluation = None if trial is None else evaluations.get(trial)
    splits = {split: split_ap(row, kind) for split, row in measured.items()}
    return schemas.SweptStudent(
        value=end.value,
        baseline=end.baseline,
        as_submitted=end.as_submitted,
        trial_id=None if trial is None else ids[trial],
        ap=None if evaluation is None else evaluation.of(kind),
        validation=splits.get(FinalSplit.VALIDATION),
        test=splits.get(FinalSplit.TEST),
        difference=None if end.as_submitted else _difference(measured, reference, kind),
    )


def _difference(
    measured: Measured, reference: Measured, kind: ApKind
) -> schemas.SweptDifference | None:
    """Return the difference on the first split of `FinalSplit` that both were measured on."""
    split = next((each for each in FinalSplit if each in measured and each in reference), None)
    if split is None:
        return None
    own, other = measured[split], reference[split]
    around = difference(own.resampled, other.resampled)
    return schemas.SweptDifference(
        split=split,
        ap=own.of(kind) - other.of(kind),
        low=around and around.low,
        high=around and around.high,
        conclusion=conclusion_of(around),
    )
