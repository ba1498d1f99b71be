"""Tells webhooks that a search has a new incumbent."""

from sqlalchemy.orm import Session

from searchd.domain.webhooks import WebhookEvent
from searchd.search.completions import Completions
from searchd.search.finishing import answer
from searchd.store import webhooks
from searchd.store.models import RunRow
from searchd.store.runs.trials import trial_id


def tell_new_incumbent(
    session: Session, run_id: str, before: Completions, after: Completions
) -> None:
    """Queue a message if a completion has changed the incumbent of a search.

    Args:
        session: The writing session that records the completion.
        run_id: The search.
        before: The accepted completions before it, in order.
        after: Those after it.
    """
    earlier, found = answer(before), answer(after)
    if found is None or (earlier and earlier.proposal.name == found.proposal.name):
        return
    run = session.get_one(RunRow, run_id)
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
