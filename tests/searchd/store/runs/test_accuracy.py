"""What was measured of a detector is stored, and what an earlier version did not measure is not."""

from dataclasses import replace

from sqlalchemy import select

from searchd.domain.trial import FinalSplit
from searchd.messages.tasks import SplitMeasurement
from searchd.store import Database
from searchd.store.models import EvaluationRow
from searchd.store.models.measurements import accuracy
from searchd.store.runs import split_evaluations
from tests.searchd.store.factories import (
    base_proposal,
    evaluation,
    run_trial,
    start_search,
    succeeded,
)

FURTHER = {"ap70": 0.58, "ap90": 0.2, "ar1": 0.3, "ar10": 0.55, "ar100": 0.61} | {
    "ar_small": -1.0,
    "ar_medium": 0.5,
    "ar_large": 0.7,
    "mask_ap": 0.35,
    "mask_ap50": 0.6,
}


def test_further_figures_are_stored_of_validation_and_of_test(database: Database) -> None:
    _, lease = start_search(database)
    trial = run_trial(database, lease, base_proposal())
    measured = {**accuracy(evaluation()), "ap": 0.4, "ar100": 0.5, "num_images": 7}
    with database.write() as session:
        at = session.scalars(select(EvaluationRow).where(EvaluationRow.trial_id == trial.id)).all()
        result = SplitMeasurement.model_validate({**measured, "resampled": (0.4, 0.3)})
        split_evaluations.record(session, lease, FinalSplit.TEST, {at[0].id: result})
    with database.read() as session:
        row = session.get_one(EvaluationRow, at[0].id)
        assert {name: getattr(row, name) for name in FURTHER} == FURTHER
        stored = split_evaluations.of_evaluations(session, [row.id], FinalSplit.TEST)[row.id]
        assert {name: getattr(stored, name) for name in FURTHER} == FURTHER | {"ar100": 0.5}


def test_a_report_of_an_earlier_version_has_none(database: Database) -> None:
    _, lease = start_search(database)
    report = succeeded("base")
    earlier = tuple(
        replace(each, **dict.fromkeys(FURTHER))  # type: ignore[arg-type] # all of them are optional
        for each in report.evaluations
    )
    trial = run_trial(database, lease, base_proposal(), replace(report, evaluations=earlier))
    with database.read() as session:
        at = session.scalars(select(EvaluationRow).where(EvaluationRow.trial_id == trial.id)).all()
        assert [(row.ar100, row.ap90) for row in at] == [(None, None)] * 2
