"""`searchd search`: searches and what they found."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from api.client import Client
from api.schemas import resources as schemas
from cli.errors import fail
from cli.output import Format, FormatOption, giga, mega, percent, show_json, show_list, show_one
from cli.resources import pins
from cli.resources.forecasts import show_forecast
from cli.resources.lifecycle import add_calls
from cli.service import (
    URL,
    InsteadNumber,
    InsteadText,
    KeyOption,
    SpecFile,
    UrlOption,
    ValidateOnlyOption,
    follow,
    read_fields,
    read_spec,
)
from cli.tools.exported_detectors import FOLDER, FolderOption, trial_id_of
from cli.tools.exported_detectors import export as write_export
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.spec import FinishSpec, SearchSpec

app = typer.Typer(no_args_is_help=True, help="Searches for better detectors.")

SearchArgument = Annotated[str, typer.Argument(help="Name or id.")]


@app.command()
def submit(
    file: SpecFile,
    name: InsteadText = None,
    dataset: InsteadText = None,
    pool: InsteadText = None,
    seed: InsteadNumber = None,
    validate_only: ValidateOnlyOption = False,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Submit a search from a spec."""
    spec = read_spec(file, SearchSpec, name=name, dataset=dataset, pool=pool, seed=seed)
    with Client(url) as client:
        if validate_only:
            client.validate_search(spec)
            typer.echo(f"search {spec.name} would be accepted", err=True)
            return
        _show(client.submit_search(spec, key=key), output)


@app.command()
def forecast(
    file: SpecFile,
    dataset: InsteadText = None,
    pool: InsteadText = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Say what a search would take, and submit nothing; exit code 1 if it would be refused."""
    spec = read_spec(file, SearchSpec, dataset=dataset, pool=pool)
    with Client(url) as client:
        show_forecast(client.forecast_search(spec), output)


@app.command("list")
def list_searches(
    status: Annotated[SearchStatus | None, typer.Option(help="Only these.")] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List searches, newest first."""
    filters = {"status": status.value} if status else {}
    columns = {
        "NAME": lambda s: s.name,
        "ID": lambda s: s.id,
        "STATUS": lambda s: s.status,
        "WHY": lambda s: s.status_reason,
        "SUBMITTED": lambda s: s.created_at,
    }
    with Client(url) as client:
        show_list(client.list_searches(**filters), columns, output)


@app.command()
def show(search: SearchArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Show where a search stands."""
    with Client(url) as client:
        _show(client.get_search(search), output)


@app.command()
def watch(
    search: SearchArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Follow a search until it has ended; exit code 1 unless it then succeeded."""
    with Client(url) as client:
        follow(client.search_events(search), output)
        ended = client.get_search(search)
    if ended.status is not SearchStatus.SUCCEEDED:
        raise fail(f"search {ended.name} is {ended.status}: {ended.status_reason}")


@app.command()
def trials(
    search: SearchArgument,
    status: Annotated[TrialStatus | None, typer.Option(help="Only these.")] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List a search's trials in the order they were proposed."""
    filters = {"status": status.value} if status else {}
    columns = {
        "TRIAL": lambda t: t.name,
        "PARENT": lambda t: t.proposal.parent,
        "CHANGE": lambda t: t.change,
        "TEACHER": lambda t: t.teacher,
        "STATUS": lambda t: t.status,
        "AP %": lambda t: percent(t.best and t.best.ap),
        "AP50 %": lambda t: percent(t.best and t.best.ap50),
        "AT": lambda t: t.best and t.best.resolution,
        "GMACS": lambda t: giga(t.best and t.best.macs),
        "M PARAMS": lambda t: mega(t.params),
        "SCORE %": lambda t: percent(t.score, 2),
        "WARNINGS": lambda t: "; ".join(t.warnings),
    }
    with Client(url) as client:
        show_list(client.trials(search, **filters), columns, output)


@app.command()
def pareto(
    search: SearchArgument,
    x: Annotated[schemas.XAxis, typer.Option(help="Cost.")] = "macs",
    y: Annotated[schemas.YAxis, typer.Option(help="Accuracy.")] = "ap",
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show the detectors that no other detector beats in both cost and accuracy."""
    with Client(url) as client:
        found = client.pareto(search, x=x, y=y)
    if output is Format.JSON:
        show_json(found.model_dump(mode="json"))
        return
    columns = {
        "TRIAL": lambda p: p.trial_id,
        "ROLE": lambda p: p.role,
        "AT": lambda p: p.evaluation.resolution,
        "AP %": lambda p: percent(p.evaluation.ap),
        "AP50 %": lambda p: percent(p.evaluation.ap50),
        "GMACS": lambda p: giga(p.evaluation.macs),
        "M PARAMS": lambda p: mega(p.params),
        "LATENCY MS": lambda p: f"{1000 * p.evaluation.latency_s:.1f}",
        "SCORE %": lambda p: percent(p.evaluation.score, 2),
    }
    show_list(found.front, columns, output)


@app.command()
def lineage(
    search: SearchArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE
) -> None:
    """Show which trial descends from which, and what each edit gained."""
    with Client(url) as client:
        found = client.lineage(search)
    if output is Format.JSON:
        show_json(found.model_dump(mode="json"))
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


@app.command()
def extend(
    search: SearchArgument,
    max_trials: Annotated[
        int | None, typer.Option(min=1, help="Search trials in all, those of before included.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Trials in a row without a better score.")
    ] = None,
    max_worker_hours: Annotated[
        float | None, typer.Option(help="In all, those of before included.")
    ] = None,
    max_gpu_hours: Annotated[float | None, typer.Option(help="Likewise.")] = None,
    max_wall_hours: Annotated[
        float | None, typer.Option(help="Since it was first started.")
    ] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Give a search more budget. One that has ended goes on; one that failed or was cancelled also
    under the budget that it had."""
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
        str | None, typer.Option(help="Its name or id; the one with the best score by default.")
    ] = None,
    folder: FolderOption = FOLDER,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Download a detector in a form that plain mmdet loads: config, checkpoint, safetensors."""
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
            help="Of the front: knee (default) or all; or a trial's name or id, repeatable."
        ),
    ] = None,
    method: Annotated[
        Literal["fine-tune", "distil"],
        typer.Option(help="Trained on under the found teacher, or by a sequence of teachers."),
    ] = "fine-tune",
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="YAML or JSON with the method's fields."),
    ] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Improve detectors of a search that has ended. Each becomes a distillation, whose students
    join the search's front and lineage; repeating the command creates nothing new."""
    fields = {} if file is None else read_fields(file)
    kind = method.replace("-", "_")
    with Client(url) as client:
        chosen = _chosen(client, search, detectors or ["knee"])
        wanted = FinishSpec.model_validate(
            {"detectors": chosen, "method": {**fields, "kind": kind}}
        )
        columns = {
            "NAME": lambda d: d.name,
            "ID": lambda d: d.id,
            "DETECTOR": lambda d: d.origin_id,
            "STATUS": lambda d: d.status,
            "WHY": lambda d: d.status_reason,
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
        "why": search.status_reason,
        "data set": search.spec.dataset,
        "pool": search.spec.pool,
        "trials": counts or None,
        "best trial": search.best_trial_id,
        "best score": f"{percent(search.best_score, 2)} %" if search.best_score else None,
        "submitted": search.created_at,
        "started": search.started_at,
        "ended": search.finished_at,
    }
    show_one(search, rows, output)


add_calls(app, "search", Client.ask_of_search, _show)
app.command()(pins.pin)
app.command()(pins.unpin)


def _depth_first(
    trials: list[schemas.LineageTrial], parent_id: str | None
) -> list[schemas.LineageTrial]:
    return [
        each
        for trial in trials
        if trial.parent_id == parent_id
        for each in (trial, *_depth_first(trials, trial.id))
    ]
