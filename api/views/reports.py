"""Builds the report of a search: what it gained, on which data, with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.schemas import reports as shown
from api.views.latencies import latencies, note
from api.views.resources import split_ap
from searchd.domain.accuracy import ApKind
from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import Finish, TrialRole
from searchd.search.history import ranking
from searchd.search.intervals import difference
from searchd.search.noise import floor_of
from searchd.search.pareto import pareto_front
from searchd.search.selection import expected_optimism
from searchd.search.short_trials import finished_sentence, tau_of_finished
from searchd.search.verdict import Conclusion, Difference, teacher_advice, verdict
from searchd.spec import PoolSearchSpec, SearchSpec
from searchd.store.models import (
    DatasetRow,
    EvaluationRow,
    FinalSplit,
    SearchRow,
    SplitEvaluationRow,
    TrialRow,
)
from searchd.store.resources import pools, searches
from searchd.store.runs import completions, split_evaluations, trials

_WORDS: Mapping[shown.Compared, str] = {
    "base": "the base",
    "control": "the control (the base trained as long, without teacher)",
    "equal_macs_control": "the equal-MACs control (the base pruned at once and trained as long)",
}


@dataclass(frozen=True, slots=True)
class _Point:
    """A detector at one resolution."""

    label: shown.Compared
    row: TrialRow
    evaluation: EvaluationRow


@dataclass(frozen=True, slots=True)
class _Measured:
    """Measurements on the split of the report."""

    rows: Mapping[int, SplitEvaluationRow]
    """By the row id of the evaluation; empty if nothing was measured after the search."""
    kind: ApKind
    """Which AP the search ranks by."""


def report(session: Session, search: SearchRow) -> shown.Report:
    """Return the report of a search; a provisional one if it has not ended.

    Raises:
        ConflictError: No search trial was accepted yet, or the base has no score.
    """
    compared = _compared(session, search)
    best = compared["best"]
    finished = _finished(session, search)
    split, rows = _split(session, search, best)
    measured = _Measured(rows, search.spec.score.accuracy)
    differences = [
        _difference(label, at, one, other, measured)
        for label, row in compared.items()
        if label != "best"
        for at, one, other in _pairs(label, best, row)
    ]
    completed = completions.judged(session, search).accepted
    scores = [each.score for each in ranking(completed) if each.score is not None]
    noise = floor_of(completed)
    taught, better = _teachers(session, search)
    num_images = next((row.num_images for row in rows.values()), None)
    found = shown.Report(
        search_id=search.id,
        search=search.name,
        status=search.status,
        split=split,
        accuracy=measured.kind,
        num_images=num_images,
        verdict=verdict(
            best.name,
            split,
            num_images,
            [d[1] for d in differences if d[0].resolution == d[0].reference_resolution],
            finished_from=best.proposal.parent if best.role is TrialRole.FINISH else None,
        ),
        notes=[],
        expected_optimism=expected_optimism(scores, noise=noise),
        compared_teachers=taught,
        better_teachers=better,
        finished_tau=_finished_tau(session, search, finished),
        detectors=[
            _detector(_Point(label, row, evaluation), measured)
            for label, row in _with_finished(compared, finished)
            for evaluation in _shown_evaluations(row, best)
        ],
        front=[_detector(point, measured) for point in _front(session, search, measured)],
        differences=[each[0] for each in differences],
        latencies=latencies(search, trials.scored(session, search.id)),
    )
    spent = note(search, _own(compared["base"]), _own(best))
    found.notes.extend([] if spent is None else [spent])
    found.notes.extend(_notes(session, search, found, has_noise=noise is not None))
    if search.status is SearchStatus.SUCCEEDED:
        found.notes.extend(_notes_on_finishing(compared, finished))
    if found.finished_tau is not None:
        found.notes.append(finished_sentence(found.finished_tau, len(finished)))
    return found


def _compared(session: Session, search: SearchRow) -> dict[shown.Compared, TrialRow]:
    """Return base, best and controls, those that there are, in the order of the report."""
    best = searches.best_trial(session, search.id)
    rows = trials.scored(session, search.id)
    base = next((row for row in rows if row.role is TrialRole.BASE), None)
    if best is None or base is None or base.best is None:
        raise ConflictError(
            f"search {search.name} is {search.status} and has no accepted trial yet, so there is "
            "nothing to report"
        )
    found: dict[shown.Compared, TrialRow] = {"base": base}
    found["best"] = next(row for row in rows if row.id == best[0].id)
    controls = [row for row in rows if row.role is TrialRole.CONTROL]
    if controls:
        found["control"] = controls[-1]
    pruned = [row for row in rows if row.role is TrialRole.MACS_CONTROL]
    if pruned:
        found["equal_macs_control"] = pruned[-1]
    return found


def _finished(session: Session, search: SearchRow) -> list[TrialRow]:
    """Return the finishing trainings that succeeded."""
    return [row for row in trials.scored(session, search.id) if row.role is TrialRole.FINISH]


def _finished_tau(
    session: Session, search: SearchRow, finished: Sequence[TrialRow]
) -> float | None:
    """Return how well the trials ranked the finished detectors; None if there are too few."""
    scores = {
        row.name: row.best.score
        for row in trials.scored(session, search.id)
        if row.best is not None and row.best.score is not None
    }
    pairs = [(scores.get(str(row.proposal.parent)), scores.get(row.name)) for row in finished]
    return tau_of_finished([(a, b) for a, b in pairs if a is not None and b is not None])


def _with_finished(
    compared: Mapping[shown.Compared, TrialRow], finished: Sequence[TrialRow]
) -> Iterator[tuple[shown.Compared, TrialRow]]:
    """Yield the detectors of the report with their labels, the other finished ones after the
    best."""
    for label, row in compared.items():
        yield label, row
        if label == "best":
            yield from (("finished", other) for other in finished if other.id != row.id)


def _notes_on_finishing(
    compared: Mapping[shown.Compared, TrialRow], finished: Sequence[TrialRow]
) -> Iterator[str]:
    best = compared["best"]
    if finished and best.role is not TrialRole.FINISH:
        yield (
            f"Finishing did not help: trial {best.name}, which is not finished, has a better score "
            "than every finished detector."
        )
    controls = (compared.get("control"), compared.get("equal_macs_control"))
    for control in (row for row in controls if row is not None):
        if best.role is TrialRole.FINISH and not isinstance(control.proposal.change, Finish):
            yield (
                f"{control.name} was trained shorter than the best, since it was not finished: "
                "longer training may explain a part of the gain over it."
            )


def _split(
    session: Session, search: SearchRow, best: TrialRow
) -> tuple[FinalSplit, Mapping[int, SplitEvaluationRow]]:
    """Return the split of the report: test if the best was measured on it, else validation."""
    own = _own(best)
    for split in FinalSplit:
        found = split_evaluations.measured(session, search.id, split)
        if own.id in found:
            return split, found
    return FinalSplit.VALIDATION, {}


def _pairs(
    label: shown.Compared, best: TrialRow, other: TrialRow
) -> Iterator[tuple[str, _Point, _Point]]:
    """Yield best and reference at the resolution of the best; if that of the reference is another,
    also at that one, and each at its own."""
    one, reference = _Point("best", best, _own(best)), _Point(label, other, _own(other))
    equal = _at(other, one.evaluation)
    if equal is not None:
        yield "equal_resolution", one, _Point(label, other, equal)
    if equal is None or equal.id != reference.evaluation.id:
        same = _at(best, reference.evaluation)
        if same is not None:
            yield "reference_resolution", _Point("best", best, same), reference
        yield "own_best", one, reference


def _difference(
    label: shown.Compared, at: str, one: _Point, other: _Point, measured: _Measured
) -> tuple[shown.ReportedDifference, Difference]:
    kind = measured.kind
    first, second = measured.rows.get(one.evaluation.id), measured.rows.get(other.evaluation.id)
    if first is not None and second is not None:
        ap, around = first.of(kind) - second.of(kind), difference(first.resampled, second.resampled)
    else:
        ap, around = one.evaluation.of(kind) - other.evaluation.of(kind), None
    compared = Difference(
        reference=_WORDS[label],
        resolution=str(one.evaluation.resolution),
        ap=ap,
        accuracy=kind,
        interval=around,
        macs_ratio=one.evaluation.macs / other.evaluation.macs,
    )
    return (
        shown.ReportedDifference.model_validate(
            {
                "reference": label,
                "reference_trial": other.row.name,
                "at": at,
                "resolution": str(one.evaluation.resolution),
                "reference_resolution": str(other.evaluation.resolution),
                "ap": ap,
                "low": around and around.low,
                "high": around and around.high,
                "macs_ratio": compared.macs_ratio,
                "conclusion": compared.conclusion,
            }
        ),
        compared,
    )


def _detector(point: _Point, measured: _Measured) -> shown.ReportedDetector:
    row, evaluation = point.row, point.evaluation
    assert row.params is not None  # the trial succeeded
    found = measured.rows.get(evaluation.id)
    return shown.ReportedDetector(
        label=point.label,
        trial_id=row.id,
        trial=row.name,
        resolution=evaluation.resolution,
        is_own_best=evaluation.id == _own(row).id,
        params=row.params,
        macs=evaluation.macs,
        latency_s=evaluation.latency_s,
        device_latency_s=evaluation.device_latency_s,
        validation_ap=evaluation.of(measured.kind),
        measured=None if found is None else split_ap(found, measured.kind),
    )


def _front(session: Session, search: SearchRow, measured: _Measured) -> list[_Point]:
    points = [
        _Point("front", row, evaluation)
        for row in trials.scored(session, search.id)
        for evaluation in row.evaluations
    ]
    front = pareto_front(
        points,
        cost=lambda p: p.evaluation.counted_cost,
        value=lambda p: p.evaluation.of(measured.kind),
    )
    return [point for point in front if point.evaluation.id in measured.rows]


def _shown_evaluations(row: TrialRow, best: TrialRow) -> Sequence[EvaluationRow]:
    """Return the evaluation at the resolution of the best, and the own best if that differs."""
    equal, own = _at(row, _own(best)), _own(row)
    return [own] if equal is None or equal.id == own.id else [equal, own]


def _teachers(session: Session, search: SearchRow) -> tuple[int, int]:
    """Return how many trials compared teacher and student, and in how many the teacher was
    better."""
    compared = [
        (row.checks.teacher_ap, row.checks.teacher_ap_floor)
        for row in trials.scored(session, search.id)
        if row.role is TrialRole.SEARCH and row.checks is not None
    ]
    known = [(ap, floor) for ap, floor in compared if ap is not None and floor is not None]
    return len(known), sum(ap > floor for ap, floor in known)


def _notes(
    session: Session, search: SearchRow, found: shown.Report, *, has_noise: bool
) -> Iterator[str]:
    dataset = session.get_one(DatasetRow, search.dataset_id)
    optimism = f"{100 * found.expected_optimism:.1f} points"
    bound = "" if has_noise else " at most"
    if search.status is not SearchStatus.SUCCEEDED:
        yield f"The search is {search.status}; this report is provisional."
    if found.split is not FinalSplit.TEST:
        yield (
            "The best was selected by its score on the validation split, so that its gain may be "
            f"selection: the expected optimism of the best score is {optimism}{bound}."
        )
        yield (
            "The data set has no test split. Add one, for example by `searchd dataset add "
            "--test-share 0.1`, to measure the gain on images that selected nothing."
            if dataset.spec.test is None
            else "The test split was not measured; it is measured after the last trial."
        )
    num_images = _num_images(search)
    if num_images is not None:
        yield (
            f"Subnets were compared by {num_images} validation images, which chose the best and "
            "the front; what was measured afterwards is of all images of its split."
        )
    if not any(each.reference == "control" for each in found.differences):
        yield "No control was trained, so that the gain of longer training alone is unknown."
    undecided = any(each.conclusion is Conclusion.UNKNOWN for each in found.differences)
    if undecided and found.num_images is not None:
        yield "Detectors whose weights were deleted could not be measured."
    advice = teacher_advice(
        found.better_teachers, found.compared_teachers, _loss_fall(session, search)
    )
    if advice is not None:
        yield advice


def _num_images(search: SearchRow) -> int | None:
    """Return the number of images by which subnets were compared; None if by all of them."""
    assert isinstance(search.spec, SearchSpec)
    strategy = search.spec.strategy
    return strategy.num_images if isinstance(strategy, PoolSearchSpec) else None


def _loss_fall(session: Session, search: SearchRow) -> float | None:
    """Return the relative fall of the pool's loss from the first to the last epoch of its last
    phase; None without a pool or with one epoch."""
    epochs = [] if search.pool_id is None else pools.epochs(session, search.pool_id)
    last = [each.losses["loss"] for each in epochs if each.phase == epochs[-1].phase]
    return None if len(last) < 2 or last[0] <= 0 else 1 - last[-1] / last[0]


def _own(row: TrialRow) -> EvaluationRow:
    """Return the evaluation with the best score on validation."""
    assert row.best is not None  # the trial was scored
    return row.best


def _at(row: TrialRow, other: EvaluationRow) -> EvaluationRow | None:
    """Return the evaluation of a trial at the resolution of another evaluation."""
    return next((each for each in row.evaluations if each.resolution == other.resolution), None)
