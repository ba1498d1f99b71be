"""Tells webhooks that a search has a new incumbent."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from searchd.domain.webhooks import WebhookEvent
from searchd.search.confirmation import judge
from searchd.search.finishing import answer
from searchd.search.history import Completion
from searchd.spec import SearchSpec
from searchd.store import webhooks
from searchd.store.models import RunRow
from searchd.store.runs.trials import trial_id


def tell_new_incumbent(session: Session, run: RunRow, completions: Sequence[Completion]) -> None:
    """Queue a message if the last completion of a search has changed its incumbent.

    Args:
        session: The writing session that records the completion.
        run: The search; nothing is told of a distillation, whose stages do not compete.
        completions: All completions of the run, in order.
    """
    if not isinstance(run.spec, SearchSpec):
        return
    before = _incumbent(completions[:-1], confirm=run.spec.confirm)
    found = _incumbent(completions, confirm=run.spec.confirm)
    if found is None or (before is not None and before.proposal.name == found.proposal.name):
        return
    facts = {
        "id": run.id,
        "name": run.name,
        "owner": run.owner,
        "trial": found.proposal.name,
        "trial_id": trial_id(run.id, found.proposal.name),
        "score": found.score,
        "points": [
            {"resolution": str(each.resolution), "ap": each.ap, "macs": each.macs}
            for each in found.points
        ],
    }
    webhooks.tell(session, WebhookEvent.INCUMBENT, run.kind, facts)


def _incumbent(completions: Sequence[Completion], *, confirm: bool) -> Completion | None:
    return answer(judge(completions, confirm=confirm).accepted)
