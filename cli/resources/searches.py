"""`searchd search`: submit, follow and control searches, and get their detectors."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from api import schemas
from api.client import Client
from cli import bars, outcome
from cli.errors import fail
from cli.lists import STATUS_HELP, FilterOption, LimitOption, Selection, SortOption, show_selected
from cli.output import Format, FormatOption, giga, mega, percent, show_list, show_one
from cli.resources import pins
from cli.resources.forecasts import show_forecast
from cli.resources.lifecycle import add_archiving, add_calls, add_deletion
from cli.resources.listing import add_list
from cli.resources.pins import TrialArgument
from cli.resources.run_views import (
    PointFilterOption,
    PointSortOption,
    XOption,
    YOption,
    show_lineage,
    show_pareto,
    show_trial,
)
from cli.resources.search_init import init
from cli.resources.search_report import show_report
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
    parse_spec,
    spec_of,
)
from cli.spec_files import read_source
from cli.spec_places import placing
from cli.tools.exported_detectors import FOLDER, FolderOption, trial_id_of
from cli.tools.exported_detectors import export as write_export
from cli.validation import validate
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.spec import FinishSpec, SearchSpec

app = typer.Typer(
    no_args_is_help=True, help="Searches for detectors that are better than a base detector."
)

app.command()(init)

SearchArgument = Annotated[str, typer.Argument(help="Name or id of the search.")]


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
    """Submit a search from a spec."""
    source = read_source(file)
    changes = {"name": name, "dataset": dataset, "pool": pool, "seed": seed, "priority": priority}
    spec = spec_of(source, SearchSpec, **changes)
    if validate_only:
        validate(spec, "search", url, source)
        return
    with Client(url) as client:
        with placing(source):
            found = client.submit_search(spec, key=key)
        found = outcome.wait(client, found) if wait else found
    _show(found, output)
    if wait:
        outcome.exit_by("search", found)


@app.command()
def forecast(
    file: SpecFile,
    dataset: DatasetOption = None,
    pool: PoolOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Forecast the cost of a search, without submitting it.

    The exit code is 1 if the search would be refused.
    """
    source = read_source(file)
    spec = spec_of(source, SearchSpec, dataset=dataset, pool=pool)
    with Client(url) as client, placing(source):
        show_forecast(client.forecast_search(spec), output)


add_list(
    app,
    Client.list_searches,
    {
        "NAME": lambda s: s.name,
        "ID": lambda s: s.id,
        "STATUS": lambda s: s.status,
        "REASON": lambda s: s.status_reason,
        "SUBMITTED": lambda s: s.created_at,
    },
    SearchStatus,
    "List searches, newest first.",
)


@app.command()
def show(search: SearchArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Show the status of a search, its trials by status, and its best score."""
    with Client(url) as client:
        _show(client.get_search(search), output)


@app.command()
def watch(
    search: SearchArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Follow a search until it has ended, and then print its report.

    On a terminal bars show the pool, the base and running trials with the time left; otherwise
    events are printed.

    With --format json only the events are printed. The exit code is 1 unless the search succeeded.
    """
    with Client(url) as client:
        if output is Format.TABLE and bars.can_be_drawn():
            bars.watch(client, "search", search)
        else:
            follow(client.search_events(search), output)
        ended = client.get_search(search)
        has_report = ended.status is SearchStatus.SUCCEEDED and ended.best_trial_id is not None
        if has_report and output is Format.TABLE:
            show_report(client.report(search), output)
    if ended.status is not SearchStatus.SUCCEEDED:
        raise fail(f"search {ended.name} is {ended.status}: {ended.status_reason}")


@app.command()
def trials(
    search: SearchArgument,
    status: Annotated[list[TrialStatus] | None, typer.Option(help=STATUS_HELP)] = None,
    filters: FilterOption = None,
    sort: SortOption = None,
    limit: LimitOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the trials of a search in the order they were proposed."""
    selection = Selection.of(filters, sort, limit, by_service=False)
    columns = {
        "TRIAL": lambda t: t.name,
        "PARENT": lambda t: t.proposal.parent,
        "CHANGE": lambda t: t.change,
        "TEACHER": lambda t: t.teacher,
        "STATUS": lambda t: t.status,
        "AP %": lambda t: percent(t.best and t.best.ap),
        "AP50 %": lambda t: percent(t.best and t.best.ap50),
        "RESOLUTION": lambda t: t.best and t.best.resolution,
        "GMACS": lambda t: giga(t.best and t.best.macs),
        "M PARAMS": lambda t: mega(t.params),
        "SCORE %": lambda t: percent(t.score, 2),
        "WARNINGS": lambda t: "; ".join(t.warnings),
    }
    with Client(url) as client:
        if client.get_search(search).spec.distillation.search is not None:
            columns["METHODS"] = lambda t: t.methods
        show_selected(partial(client.trials, search), columns, selection, output, status=status)


@app.command()
def trial(trial: TrialArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Show a trial of a search or a distillation: its status, measurements, epochs and files."""
    with Client(url) as client:
        show_trial(client.get_trial(trial), output)


@app.command()
def pareto(
    search: SearchArgument,
    x: XOption = None,
    y: YOption = None,
    filters: PointFilterOption = None,
    sort: PointSortOption = None,
    limit: LimitOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the Pareto front: the detectors that no other one beats in both cost and accuracy.

    AP, AP50 and the score are of the validation split, by which the search selects. AP on the test
    split is measured after the last trial, with its 95 % interval over images.
    """
    selection = Selection.of(filters, sort, limit, by_service=False)
    with Client(url) as client:
        found = client.pareto(search, x=x, y=y)
        cost = client.get_search(search).spec.score.cost
    show_pareto(found, selection, output, cost)


@app.command()
def report(
    search: SearchArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Report what a search gained against its base and controls, with 95 % intervals.

    The figures are of the test split if the data set has one.
    """
    with Client(url) as client:
        show_report(client.report(search), output)


@app.command()
def lineage(
    search: SearchArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Show the lineage tree: the parent of each trial, its edit, and what the edit gained."""
    with Client(url) as client:
        found = client.lineage(search)
    show_lineage(found, output)


@app.command()
def extend(
    search: SearchArgument,
    max_trials: Annotated[
        int | None,
        typer.Option(
            min=1, help="New largest number of search trials, those already done included."
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="New number of consecutive trials without a better score that ends the search.",
        ),
    ] = None,
    max_worker_hours: Annotated[
        float | None,
        typer.Option(help="New largest number of worker-hours, those already spent included."),
    ] = None,
    max_gpu_hours: Annotated[
        float | None,
        typer.Option(help="New largest number of GPU-hours, those already spent included."),
    ] = None,
    max_wall_hours: Annotated[
        float | None,
        typer.Option(help="New largest number of hours since the search first started."),
    ] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Give a search more budget; a search that has ended continues.

    Options that are not given keep their values. A search that failed or was cancelled continues
    even without more budget.
    """
    budget = {
        "max_trials": max_trials,
        "patience": patience,
        "max_worker_hours": max_worker_hours,
        "max_gpu_hours": max_gpu_hours,
        "max_wall_hours": max_wall_hours,
    }
    given = {name: value for name, value in budget.items() if value is not None}
    with Client(url) as client:
        _show(client.extend_search(search, **given), output)


@app.command()
def export(
    search: SearchArgument,
    trial: Annotated[
        str | None,
        typer.Option(
            help="Name or id of the trial to export. The trial with the best score by default."
        ),
    ] = None,
    folder: FolderOption = FOLDER,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Export a detector for mmdet: config, checkpoint and safetensors."""
    with Client(url) as client:
        found = client.get_search(search)
        trials = client.trials(found.id)
        trial_id = found.best_trial_id if trial is None else trial_id_of(trials, trial)
        if trial_id is None:
            raise fail(f"search {found.name} has no detector yet")
        write_export(client, found, trial_id, folder, output)


@app.command()
def finish(
    search: SearchArgument,
    detectors: Annotated[
        list[str] | None,
        typer.Option(
            help="Detectors to improve: knee (default) or all of the Pareto front, or the name or "
            "id of a trial. Repeat the option for several trials."
        ),
    ] = None,
    method: Annotated[
        Literal["fine-tune", "distil"],
        typer.Option(
            help="How to improve them: fine-tune under the teacher that the search found, or "
            "distil from a sequence of teachers."
        ),
    ] = "fine-tune",
    file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="YAML or JSON file with the fields of the method. Its defaults otherwise.",
        ),
    ] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Improve detectors of a finished search by fine-tuning or distillation.

    Each detector gets a distillation, whose students join the front and the lineage of the search.
    Repeating the command creates nothing new.
    """
    source = None if file is None else read_source(file).within("method")
    kind = method.replace("-", "_")
    with Client(url) as client, placing(source):
        chosen = _chosen(client, search, detectors or ["knee"])
        fields = {} if source is None else source.fields
        wanted = parse_spec(
            {"detectors": chosen, "method": {**fields, "kind": kind}},
            FinishSpec,
            source,
        )
        columns = {
            "NAME": lambda d: d.name,
            "ID": lambda d: d.id,
            "DETECTOR": lambda d: d.origin_id,
            "STATUS": lambda d: d.status,
            "REASON": lambda d: d.status_reason,
        }
        show_list(client.finish(search, wanted), columns, output)


def _chosen(client: Client, search: str, detectors: list[str]) -> str | list[str]:
    if detectors in (["knee"], ["all"]):
        return detectors[0]
    trials = list(client.trials(search))
    return [trial_id_of(trials, trial) for trial in detectors]


def _show(search: schemas.SearchDetails, output: Format) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in search.trials.items())
    rows = {
        "name": search.name,
        "id": search.id,
        "status": search.status,
        "reason": search.status_reason,
        "data set": search.spec.dataset,
        "pool": search.spec.pool,
        "registered teachers": ", ".join(search.spec.registered) or None,
        "warning": search.teachers_warning,
        "trials": counts or None,
        "best trial": search.best_trial_id,
        "best score": f"{percent(search.best_score, 2)} %" if search.best_score else None,
        "submitted": search.created_at,
        "started": search.started_at,
        "ended": search.finished_at,
    }
    show_one(search, rows, output)


add_calls(app, "search", Client.ask_of_search, _show)
add_deletion(app, "search", "searches")
add_archiving(app, "search", "searches")
add_log(app, "search", "searches")
app.command()(pins.pin)
app.command()(pins.unpin)
