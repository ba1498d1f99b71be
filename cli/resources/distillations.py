"""`searchd distillation`: submit, follow and control distillations."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Annotated

import typer

from api.client import Client
from api.schemas.distillations import Comparison, DistillationDetails, Stage
from cli import bars, outcome
from cli.errors import fail
from cli.lists import STATUS_HELP, FilterOption, LimitOption, Selection, SortOption, show_selected
from cli.output import (
    Format,
    FormatOption,
    giga,
    percent,
    show_json,
    show_one,
    show_rows,
)
from cli.resources import pool_init, sweep_table
from cli.resources.forecasts import show_forecast
from cli.resources.lifecycle import add_archiving, add_calls, add_deletion
from cli.resources.listing import add_list
from cli.resources.run_views import (
    PointFilterOption,
    PointSortOption,
    XOption,
    YOption,
    show_lineage,
    show_pareto,
)
from cli.resources.trial_log import add_log
from cli.service import (
    URL,
    DatasetOption,
    KeyOption,
    NameOption,
    PoolOption,
    PriorityOption,
    SeedOption,
    SpecFile,
    UrlOption,
    ValidateOnlyOption,
    follow,
    spec_of,
)
from cli.spec_files import read_source
from cli.spec_places import placing
from cli.tools.exported_detectors import FOLDER, FolderOption, trial_id_of
from cli.tools.exported_detectors import export as write_export
from cli.validation import validate
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.domain.trial import scalar_text
from searchd.spec import DistillationSpec

app = typer.Typer(
    no_args_is_help=True, help="Distillations, in which teachers teach a student one by one."
)

app.command("init")(pool_init.distillation)

DistillationArgument = Annotated[str, typer.Argument(help="Name or id of the distillation.")]


@app.command()
def submit(
    file: SpecFile,
    name: NameOption = None,
    dataset: DatasetOption = None,
    pool: PoolOption = None,
    seed: SeedOption = None,
    priority: PriorityOption = None,
    validate_only: ValidateOnlyOption = False,
    wait: outcome.WaitOption = False,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Submit a distillation from a spec."""
    source = read_source(file)
    changes = {"name": name, "dataset": dataset, "pool": pool, "seed": seed, "priority": priority}
    spec = spec_of(source, DistillationSpec, **changes)
    if validate_only:
        validate(spec, "distillation", url, source)
        return
    with Client(url) as client:
        with placing(source):
            found = client.submit_distillation(spec, key=key)
        found = outcome.wait(client, found) if wait else found
    _show(found, output)
    if wait:
        outcome.exit_by("distillation", found)


@app.command()
def forecast(
    file: SpecFile,
    dataset: DatasetOption = None,
    pool: PoolOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Forecast the cost of a distillation, without submitting it.

    The exit code is 1 if the distillation would be refused.
    """
    source = read_source(file)
    spec = spec_of(source, DistillationSpec, dataset=dataset, pool=pool)
    with Client(url) as client, placing(source):
        show_forecast(client.forecast_distillation(spec), output)


add_list(
    app,
    Client.list_distillations,
    {
        "NAME": lambda d: d.name,
        "ID": lambda d: d.id,
        "STUDENT": lambda d: d.origin_id or "base detector",
        "STATUS": lambda d: d.status,
        "REASON": lambda d: d.status_reason,
        "SUBMITTED": lambda d: d.created_at,
    },
    SearchStatus,
    "List distillations, newest first.",
)


@app.command()
def show(
    distillation: DistillationArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Show a distillation: the order of its teachers, its stages, and the comparison of orders."""
    with Client(url) as client:
        _show(client.get_distillation(distillation), output)


@app.command()
def watch(
    distillation: DistillationArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Follow a distillation until it has ended: by bars on a terminal, otherwise by events.

    The exit code is 1 unless the distillation succeeded.
    """
    with Client(url) as client:
        if output is Format.TABLE and bars.can_be_drawn():
            bars.watch(client, "distillation", distillation)
        else:
            follow(client.distillation_events(distillation), output)
        ended = client.get_distillation(distillation)
    if ended.status is not SearchStatus.SUCCEEDED:
        raise fail(f"distillation {ended.name} is {ended.status}: {ended.status_reason}")


@app.command()
def trials(
    distillation: DistillationArgument,
    status: Annotated[list[TrialStatus] | None, typer.Option(help=STATUS_HELP)] = None,
    filters: FilterOption = None,
    sort: SortOption = None,
    limit: LimitOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the trials of a distillation: the given student (base), then the stages."""
    selection = Selection.of(filters, sort, limit, by_service=False)
    columns = {
        "TRIAL": lambda t: t.name,
        "PARENT": lambda t: t.parent_id,
        "TEACHER": lambda t: t.teacher,
        "STATUS": lambda t: t.status,
        "AP %": lambda t: percent(t.best and t.best.ap),
        "AP50 %": lambda t: percent(t.best and t.best.ap50),
        "RESOLUTION": lambda t: t.best and t.best.resolution,
        "GMACS": lambda t: giga(t.best and t.best.macs),
        "SCORE %": lambda t: percent(t.score, 2),
        "WARNINGS": lambda t: "; ".join(t.warnings),
    }
    with Client(url) as client:
        show_selected(
            partial(client.distillation_trials, distillation),
            columns,
            selection,
            output,
            status=status,
        )


@app.command()
def lineage(
    distillation: DistillationArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Show the lineage tree of a distillation: the parent of each stage, and what it gained."""
    with Client(url) as client:
        show_lineage(client.distillation_lineage(distillation), output)


@app.command()
def pareto(
    distillation: DistillationArgument,
    x: XOption = None,
    y: YOption = None,
    filters: PointFilterOption = None,
    sort: PointSortOption = None,
    limit: LimitOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the Pareto front of the student after every stage."""
    selection = Selection.of(filters, sort, limit, by_service=False)
    with Client(url) as client:
        found = client.distillation_pareto(distillation, x=x, y=y)
    show_pareto(found, selection, output)


@app.command()
def extend(
    distillation: DistillationArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Continue a distillation that failed or was cancelled."""
    with Client(url) as client:
        _show(client.extend_distillation(distillation), output)


@app.command()
def export(
    distillation: DistillationArgument,
    trial: Annotated[
        str | None,
        typer.Option(
            help="Name or id of the trial to export. The last stage of the order by default."
        ),
    ] = None,
    folder: FolderOption = FOLDER,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Export a student for mmdet: config, checkpoint and safetensors."""
    with Client(url) as client:
        found = client.get_distillation(distillation)
        trials = client.distillation_trials(found.id)
        trial_id = _last_stage(found) if trial is None else trial_id_of(trials, trial)
        if trial_id is None:
            raise fail(f"distillation {found.name} has not come to the end of its order")
        write_export(client, found, trial_id, folder, output)


def _last_stage(found: DistillationDetails) -> str | None:
    """The id of the trial of the order's last stage, once it has succeeded."""
    path = " > ".join(each.teacher for each in found.order)
    ends = [
        each.trial_id
        for each in found.stages
        if each.path == path and each.value is None and each.ap is not None
    ]
    return ends[0] if ends else None


def _show(found: DistillationDetails, output: Format) -> None:
    if output is Format.JSON:
        show_json(found.model_dump(mode="json"))
        return
    show_one(found, _facts(found), output)
    _show_table(
        "Teachers in order" if found.order else "Candidate teachers",
        ("TEACHER", "SOURCE", "AP %", "COST", "REASON"),
        _teachers(found),
    )
    _show_table(
        f"Stages, AP at {found.resolution}",
        ("STAGE", "STARTS FROM", "TRIAL", "STATUS", "AP %"),
        [
            (_stage(s), s.parent or "given student", s.trial_id, s.status, percent(s.ap, 2))
            for s in found.stages
        ],
    )
    if found.sweep is not None:
        _show_table(f"Sweep of {found.sweep.field}", *sweep_table.table(found.sweep))
    if found.comparison is not None:
        _show_table(
            "Comparison at equal budgets",
            ("STUDENT TAUGHT BY", "AP %"),
            _compared(found.comparison),
        )
        _show_table(
            "Trained orders",
            ("RANK", "ORDER", "AP %", "NOTE"),
            [
                (each.rank, " > ".join(each.order), percent(each.ap, 2), _mark(found, each.order))
                for each in found.comparison.orders
            ],
        )


def _stage(stage: Stage) -> str:
    value = stage.value
    return stage.path if value is None else f"{stage.path} ({scalar_text(value)})"


def _facts(found: DistillationDetails) -> dict[str, object]:
    counts = ", ".join(f"{count} {status}" for status, count in found.trials.items())
    return {
        "name": found.name,
        "id": found.id,
        "status": found.status,
        "reason": found.status_reason,
        "data set": found.spec.dataset,
        "student": found.origin_id or "base detector",
        "pool": found.spec.pool,
        "trials": counts or None,
        "rank": _rank(found.comparison),
        "tau of cost and gain": _tau(found.comparison),
        "submitted": found.created_at,
        "started": found.started_at,
        "ended": found.finished_at,
    }


def _rank(comparison: Comparison | None) -> str | None:
    if comparison is None or comparison.rank is None:
        return None
    return f"{comparison.rank} of {len(comparison.orders)} trained orders"


def _tau(comparison: Comparison | None) -> str | None:
    if comparison is None or comparison.cost_and_gain is None:
        return None
    return f"{comparison.cost_and_gain:+.2f}"


def _teachers(found: DistillationDetails) -> Iterator[tuple[object, ...]]:
    """The rows of the chosen teachers in their order, then those of the others."""
    candidates = {each.name: each for each in found.teachers}
    for chosen in found.order:
        each = candidates.pop(chosen.teacher)
        cost = None if chosen.cost is None else f"{chosen.cost:.4g}"
        yield each.name, each.source, percent(each.ap), cost, chosen.reason
    for each in candidates.values():
        yield each.name, each.source, percent(each.ap), None, "not chosen" if found.order else None


def _compared(comparison: Comparison) -> list[tuple[object, ...]]:
    return [
        ("no one (given student)", percent(comparison.base, 2)),
        ("the order", percent(comparison.order, 2)),
        *((name, percent(ap, 2)) for name, ap in comparison.baselines.items()),
    ]


def _mark(found: DistillationDetails, order: list[str]) -> str:
    return "chosen" if order == [each.teacher for each in found.order] else ""


def _show_table(title: str, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    shown = list(rows)
    if shown:
        typer.echo(f"\n{title}:")
        show_rows(header, shown)


add_calls(app, "distillation", Client.ask_of_distillation, _show)
add_deletion(app, "distillation", "distillations")
add_archiving(app, "distillation", "distillations")
add_log(app, "distillation", "distillations")
