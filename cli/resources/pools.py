"""`searchd pool`: create, follow and control elastic teacher pools."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from api.client import Client
from api.schemas import PoolDetails, SubnetMeasurement
from cli import bars, outcome
from cli.errors import describe, fail
from cli.output import Format, FormatOption, percent, show_json, show_one
from cli.resources import pool_exports, pool_init
from cli.resources.forecasts import show_forecast
from cli.resources.lifecycle import add_archiving, add_calls, add_deletion
from cli.resources.listing import add_list
from cli.service import (
    URL,
    DatasetOption,
    KeyOption,
    NameOption,
    SpecFile,
    UrlOption,
    ValidateOnlyOption,
    follow,
    spec_of,
)
from cli.spec_files import read_source
from cli.spec_places import placing
from cli.validation import validate
from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import PoolStatus
from searchd.spec import PoolSpec

app = typer.Typer(
    no_args_is_help=True,
    help="Elastic teacher pools: supernets whose subnets teach the students of searches.",
)

app.command("init")(pool_init.pool)

PoolArgument = Annotated[str, typer.Argument(help="Name or id of the pool.")]


@app.command()
def create(
    file: SpecFile,
    name: NameOption = None,
    dataset: DatasetOption = None,
    validate_only: ValidateOnlyOption = False,
    wait: outcome.WaitOption = False,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Create a pool from a spec. The service trains it."""
    source = read_source(file)
    spec = spec_of(source, PoolSpec, name=name, dataset=dataset)
    if validate_only:
        validate(spec, "pool", url, source)
        return
    with Client(url) as client:
        with placing(source):
            found = client.create_pool(spec, key=key)
        found = outcome.wait(client, found) if wait else found
    _show(found, output)
    if wait:
        outcome.exit_by("pool", found)


@app.command()
def extend(
    pool: PoolArgument,
    epochs: Annotated[
        int,
        typer.Option(min=1, help="Number of passes over the train split, in each phase."),
    ],
    phase: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a phase of the pool to train again; repeat the option for several, in "
            "their order. Default: the last phase."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=1e-9, help="Learning rate at the start of each phase. Default: that of the phase."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the new pool. Default: teachers-2 for teachers, and so on."),
    ] = None,
    validate_only: ValidateOnlyOption = False,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Continue the training of a pool that is ready, as a new pool.

    The old pool stays as it is, so searches that use it are not affected. New searches name the new
    pool.
    """
    with Client(url) as client:
        spec = _extended(client.get_pool(pool).spec, epochs, name, phase or [], learning_rate)
        if validate_only:
            validate(spec, "pool", url)
            return
        _show(client.create_pool(spec, key=key), output)


def _extended(
    spec: PoolSpec, epochs: int, name: str | None, phases: list[str], learning_rate: float | None
) -> PoolSpec:
    try:
        return spec.extended(epochs=epochs, name=name, phases=phases, learning_rate=learning_rate)
    except ValidationError as error:
        raise InvalidValueError(f"the new pool is {describe(error, PoolSpec)}") from error
    except ValueError as error:
        raise InvalidValueError(str(error)) from error


@app.command()
def export(
    pool: PoolArgument,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder to write pool.json and the weights into.")
    ],
    half: Annotated[
        bool,
        typer.Option(
            "--half",
            help="Store weights as float16, in half the space. Outputs of teachers then differ in "
            "the third digit or later.",
        ),
    ] = False,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Export a trained pool as a folder that another service can import."""
    with Client(url) as client:
        found = client.get_pool(pool)
        rows = pool_exports.export_pool(client, found, out, half=half)
    if output is Format.JSON:
        show_json({name: str(value) for name, value in rows.items()})
    else:
        show_one(found, rows, output)


@app.command("import")
def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder that `searchd pool export` wrote, on a disk that the workers can read.",
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(help="Name of the data set of the pool. Its classes must be those of FOLDER."),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the new pool. Default: the name in FOLDER.")
    ] = None,
    validate_only: ValidateOnlyOption = False,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Create a pool from an exported one, without training it.

    Its subnets are evaluated on the data set, and it is ready after that.
    """
    spec = pool_exports.spec_of_import(folder, dataset, name)
    if validate_only:
        validate(spec, "pool", url)
        return
    with Client(url) as client:
        _show(client.create_pool(spec, key=key), output)


@app.command()
def forecast(
    file: SpecFile,
    dataset: DatasetOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Forecast the cost of training a pool, without creating it.

    The exit code is 1 if the pool would be refused.
    """
    source = read_source(file)
    spec = spec_of(source, PoolSpec, dataset=dataset)
    with Client(url) as client, placing(source):
        show_forecast(client.forecast_pool(spec), output)


add_list(
    app,
    Client.list_pools,
    {
        "NAME": lambda p: p.name,
        "ID": lambda p: p.id,
        "STATUS": lambda p: p.status,
        "REASON": lambda p: p.status_reason,
        "CREATED": lambda p: p.created_at,
    },
    PoolStatus,
    "List pools, newest first.",
)


@app.command()
def show(pool: PoolArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Show a pool and the AP of its evaluated subnets."""
    with Client(url) as client:
        _show(client.get_pool(pool), output)


@app.command()
def watch(pool: PoolArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Follow a pool until its training has ended: by a bar on a terminal, otherwise by events.

    The exit code is 1 unless the pool is then ready.
    """
    with Client(url) as client:
        if output is Format.TABLE and bars.can_be_drawn():
            bars.watch(client, "pool", pool)
        else:
            follow(client.pool_events(pool), output)
        ended = client.get_pool(pool)
    if ended.status is not PoolStatus.READY:
        raise fail(f"pool {ended.name} is {ended.status}: {ended.status_reason}")


def _show(pool: PoolDetails, output: Format) -> None:
    rows: dict[str, object] = {
        "name": pool.name,
        "id": pool.id,
        "status": pool.status,
        "reason": pool.status_reason,
        "data set": pool.spec.dataset,
        "continues": pool.spec.start_from,
        "imported from": pool.spec.source,
        "subnets": f"{pool.spec.space.space.size:,}",
    }
    if pool.progress is not None and pool.status is PoolStatus.TRAINING:
        at = pool.progress
        rows["progress"] = f"{at.phase}, epoch {at.epoch} of {at.num_epochs}"
    for epoch in pool.epochs:
        if epoch.subnets:
            rows[f"AP after {epoch.phase}"] = _at_the_end_of_a_phase(epoch.subnets)
    for each in pool.subnets:
        rows[f"AP of {each.subnet} at {each.resolution}"] = f"{percent(each.ap)} %"
    show_one(pool, rows, output)


def _at_the_end_of_a_phase(subnets: list[SubnetMeasurement]) -> str:
    """The largest comes first, then the smallest, unless the phase trains only one."""
    which = ("the largest", "the smallest")
    aps = (f"{percent(each.ap)} % of {name}" for each, name in zip(subnets, which, strict=False))
    return f"{', '.join(aps)} subnet at {subnets[0].resolution}"


add_calls(app, "pool", Client.ask_of_pool, _show)
add_deletion(app, "pool", "pools")
add_archiving(app, "pool", "pools")
