"""What commands show of the trials of a search or distillation: lineage, Pareto front, a trial."""

from typing import Annotated

import typer

from api import schemas
from cli.lists import Selection
from cli.output import Format, giga, mega, percent, show_json, show_list, show_one, show_rows
from cli.resources import search_front
from searchd.domain.score import Cost

XOption = Annotated[
    schemas.XAxis | None,
    typer.Option(
        help="Cost of the front: macs, params, latency_s (measured beside the trials), or cost "
        "(what the run counts). Default: what the run counts."
    ),
]
YOption = Annotated[
    schemas.YAxis | None,
    typer.Option(
        help="Accuracy of the front: ap, ap50 or ap75 of boxes, mask_ap or mask_ap50. Default: "
        "what the run ranks by."
    ),
]

PointFilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="CONDITION",
        help="Condition on a field of the points in --format json, such as evaluation.ap>=0.3 or "
        "evaluation.resolution=96x96; the operators are = != ~ < > <= >=. Repeat it for several "
        "conditions, which must all hold. By default the whole front is listed.",
    ),
]
PointSortOption = Annotated[
    str | None,
    typer.Option(
        "--sort",
        metavar="[-]FIELD",
        help="Field of the points in --format json to sort by, such as params or -evaluation.ap; "
        "with a minus, in descending order. By default the cheapest comes first.",
    ),
]


def show_pareto(
    found: schemas.Pareto, selection: Selection, output: Format, cost: Cost = Cost.MACS
) -> None:
    """Print the selected points of a Pareto front of a run, with the figures of what it counts as
    cost. In JSON, dominated points are selected likewise."""
    points = {name: selection.apply(getattr(found, name)) for name in ("front", "dominated")}
    found = found.model_copy(update=points)
    if output is Format.JSON:
        show_json(found.model_dump(mode="json"))
        return
    show_list(found.front, search_front.columns(cost, found.front), output)


def show_lineage(found: schemas.Lineage, output: Format) -> None:
    """Print a lineage as a tree, or a row for each trial as CSV."""
    if output is Format.JSON:
        show_json(found.model_dump(mode="json"))
        return
    if output is Format.CSV:
        header = ("TRIAL", "PARENT", "CHANGE", "SCORE", "GAIN", "VERDICT")
        show_rows(
            header,
            [(t.id, t.parent_id, t.change, t.score, t.gain, t.verdict) for t in found.trials],
            output,
        )
        return
    searched = found.trials[0].search_id if found.trials else None
    depths: dict[str | None, int] = {None: -1}
    for trial in found.trials:
        depths[trial.id] = depths[trial.parent_id] + 1
    for trial in _depth_first(found.trials, None):
        gain = "" if trial.gain is None else f"  {100 * trial.gain:+.2f}"
        score = percent(trial.score, 2) or trial.status
        name = trial.name if trial.search_id == searched else f"{trial.name} ({trial.search})"
        verdict = "" if trial.verdict is None else f"  {trial.verdict}"
        typer.echo(f"{'  ' * depths[trial.id]}{name}: {trial.change}  {score}{gain}{verdict}")


def show_trial(found: schemas.TrialDetails, output: Format) -> None:
    """Print a trial."""
    best = found.best
    rows: dict[str, object] = {
        "id": found.id,
        "status": found.status,
        "reason": found.status_reason,
        "parent": found.parent_id,
        "change": found.change,
        "teacher": found.teacher,
        "methods": found.methods,
        "score": f"{percent(found.score, 2)} %" if found.score is not None else None,
        "AP": f"{percent(best.ap)} % at {best.resolution}" if best else None,
        **_mask_row(best),
        "MACs": f"{giga(best.macs)} G" if best else None,
        "parameters": f"{mega(found.params)} M" if found.params else None,
        "warnings": "; ".join(found.warnings) or None,
    }
    for epoch in found.epochs:
        losses = ", ".join(f"{name} {value:.3g}" for name, value in sorted(epoch.losses.items()))
        rows[f"epoch {epoch.epoch}"] = losses
    for file in found.artifacts:
        rows[f"file {file.name}"] = f"{file.size_bytes / 1e6:.2f} MB, SHA-256 {file.sha256}"
    show_one(found, rows, output)


def _depth_first(
    trials: list[schemas.LineageTrial], parent_id: str | None
) -> list[schemas.LineageTrial]:
    return [
        each
        for trial in trials
        if trial.parent_id == parent_id
        for each in (trial, *_depth_first(trials, trial.id))
    ]


def _mask_row(best: schemas.Evaluation | None) -> dict[str, str]:
    if best is None or best.mask_ap is None:
        return {}
    return {"mask AP": f"{percent(best.mask_ap)} % at {best.resolution}"}
