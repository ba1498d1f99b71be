"""The scores of a reported student, and remarks on them for users."""

from sqlalchemy.orm import Session

from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost, score
from searchd.domain.trial import BASE_NAME, Outcome, Proposal, TrialRole
from searchd.driver.run import Run
from searchd.messages.reports import Report
from searchd.search.better_teachers import no_better_teacher
from searchd.search.completions import Completions
from searchd.search.confirmation import confirmation_note
from searchd.search.finishing import failures
from searchd.search.growing_history import Ended
from searchd.search.history import Completion
from searchd.search.noise import noise_warning
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.pair_steps import PairSteps
from searchd.spec import DistillationSpec, SearchSpec
from searchd.store.runs import trials


def scores_of(run: Run, report: Report, base_cost: float | None) -> dict[Resolution, float]:
    """Return H(S, r) at every resolution (docs/papers.md 1.3); empty unless the trial succeeded.

    Args:
        run: The run of the trial.
        report: What its worker reports.
        base_cost: What the base costs (`base_cost_of`); None if the report is about the base.

    Raises:
        InvalidValueError: It lacks the cost that it is scored by.
    """
    if report.outcome is not Outcome.SUCCEEDED:
        return {}
    is_base = report.trial == BASE_NAME and run.origin_id is None
    cost = report.scored_cost
    base_cost = cost if is_base else base_cost
    if cost is None or base_cost is None:
        raise InvalidValueError(
            f"trial {trials.trial_id(run.id, report.trial)}: a success needs base_macs, "
            f"got {cost}; the base detector's are {base_cost}"
        )
    settings = run.spec.score
    return {
        evaluation.resolution: score(
            ap=evaluation.of(settings.accuracy),
            macs=cost,
            base_macs=base_cost,
            resolution=evaluation.resolution,
            base_resolution=settings.base_resolution,
            alpha=settings.alpha,
            beta=settings.beta,
        )
        for evaluation in report.evaluations
    }


def base_cost_of(session: Session, run: Run) -> float | None:
    """Return C_base of the score: the multiply-accumulates of the base, or what the run counts
    instead. None while it is not trained.

    A run that continues a trial of another run has the base of that run, so that their scores can
    be compared.
    """
    base_id = trials.trial_id(run.id, BASE_NAME)
    if run.origin_id is not None:
        base_id = trials.ancestors(session, run.origin_id)[0].id
    counts_macs = run.spec.score.cost is Cost.MACS
    return trials.base_cost(session, base_id, counts_macs=counts_macs)


def remarks_on(
    completion: Completion, ended: Ended, spec: SearchSpec | DistillationSpec
) -> list[str]:
    """Return what users should know about a trial that has just ended, as sentences.

    Args:
        completion: The trial's, the last one of `ended`.
        ended: Everything that has ended in the run.
        spec: The run's spec.
    """
    remarks = [f"finishing: {text}" for text in failures([completion])]
    doubtful = noise_warning(completion, ended.completions)
    if doubtful is not None:
        remarks.append(f"within noise: {doubtful}")
    confirmed = None
    if isinstance(spec, SearchSpec) and spec.confirm:
        confirmed = confirmation_note(completion, ended.judged)
    return remarks if confirmed is None else [*remarks, f"confirmation: {confirmed}"]


def remark_on_teacher(
    strategy: Strategy, proposal: Proposal, completions: Completions
) -> str | None:
    """Return what users should know about the teacher of a search trial that is proposed, as a
    sentence; None if a measured teacher is better than the student, or nothing is known.

    Args:
        strategy: The strategy that proposes the trial.
        proposal: The trial.
        completions: The completions that the strategy sees.
    """
    if not isinstance(strategy, PairSteps) or proposal.role is not TrialRole.SEARCH:
        return None
    parent = completions.find(proposal.parent or "")
    if parent is None:
        return None
    comparison = strategy.compare_teachers(completions, parent)
    remark = None if comparison is None else no_better_teacher(comparison, proposal.teacher)
    return None if remark is None else f"trial {proposal.name}: {remark}"
