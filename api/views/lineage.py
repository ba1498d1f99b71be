"""The lineage tree of a search and its distillations, or of a distillation alone."""

from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Session

from api import schemas
from searchd.domain.trial import describe_change
from searchd.search.confirmation import Verdict
from searchd.search.noise import noise_floor, within_noise
from searchd.spec import SearchSpec
from searchd.store.models import RunRow
from searchd.store.runs import completions, points, trials
from searchd.store.runs import lineage as stored
from searchd.store.runs.lineage import Node


def lineage(
    session: Session,
    runs: Sequence[RunRow],
    *,
    root: str | None = None,
    depth: int | None = None,
    page_size: int | None = None,
    page_token: str | None = None,
) -> schemas.Lineage:
    """Return the tree, or one page of it; see `searchd.store.runs.lineage.page`."""
    names = {run.id: run.name for run in runs}
    page = stored.page(
        session, list(names), root=root, depth=depth, page_size=page_size, page_token=page_token
    )
    copies = points.copies(session, list(names))
    means, verdicts = _confirmed(session, runs)
    searches = [run.id for run in runs if run.kind == "search"]
    floor = noise_floor(stored.repetition_scores(session, searches))

    def shown(node: Node) -> schemas.LineageTrial:
        score = means.get(node.id, node.score)
        parent = means.get(node.parent_id or "", node.parent_score)
        gain = None if score is None or parent is None else score - parent
        return schemas.LineageTrial(
            id=node.id,
            name=node.name,
            search_id=node.run_id,
            search=names[node.run_id],
            role=node.role,
            parent_id=copies.get(node.parent_id or "", node.parent_id),
            change=describe_change(node.proposal.change),
            status=node.status,
            score=score,
            verdict=verdicts.get(node.id),
            gain=gain,
            within_noise=within_noise(gain or 0.0, floor),
            num_children=node.num_children,
        )

    return schemas.Lineage(
        trials=[shown(node) for node in page.items if node.id not in copies],
        next_page_token=page.next_page_token,
    )


def _confirmed(
    session: Session, runs: Iterable[RunRow]
) -> tuple[dict[str, float], dict[str, Verdict]]:
    """Return the results of confirmations, by trial id: the mean score of each confirmed trial, and
    the verdict on each trial that was to be confirmed."""
    means: dict[str, float] = {}
    verdicts: dict[str, Verdict] = {}
    for run in runs:
        if not isinstance(run.spec, SearchSpec) or not run.spec.confirm:
            continue
        judged = completions.judged(session, run)
        for name, verdict in judged.verdicts.items():
            verdicts[trials.trial_id(run.id, name)] = verdict
        for each in judged.accepted:
            if each.proposal.name in judged.verdicts and each.score is not None:
                means[trials.trial_id(run.id, each.proposal.name)] = each.score
    return means, verdicts
