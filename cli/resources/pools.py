"""`searchd pool`: create, follow and control elastic teacher pools."""

from typing import Annotated

import typer

from api.client import Client
from api.schemas import PoolDetails
from cli.errors import fail
from cli.output import Format, FormatOption, percent, show_list, show_one
from cli.resources.forecasts import show_forecast
from cli.resources.lifecycle import add_calls, add_deletion
from cli.service import (
    STATUS_HELP,
    URL,
    DatasetOption,
    KeyOption,
    NameOption,
    SpecFile,
    UrlOption,
    ValidateOnlyOption,
    follow,
    read_spec,
)
from cli.validation import validate
from searchd.domain.lifecycle import PoolStatus
from searchd.spec import PoolSpec

app = typer.Typer(
    no_args_is_help=True,
    help="Elastic teacher pools: supernets whose subnets teach the students of searches.",
)

PoolArgument = Annotated[str, typer.Argument(help="Name or id of the pool.")]


@app.command()
def create(
    file: SpecFile,
    name: NameOption = None,
    dataset: DatasetOption = None,
    validate_only: ValidateOnlyOption = False,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Create a pool from a spec. The service trains it."""
    spec = read_spec(file, PoolSpec, name=name, dataset=dataset)
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
    spec = read_spec(file, PoolSpec, dataset=dataset)
    with Client(url) as client:
        show_forecast(client.forecast_pool(spec), output)


@app.command("list")
def list_pools(
    status: Annotated[PoolStatus | None, typer.Option(help=STATUS_HELP)] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """List pools, newest first."""
    filters = {"status": status.value} if status else {}
    columns = {
        "NAME": lambda p: p.name,
        "ID": lambda p: p.id,
        "STATUS": lambda p: p.status,
        "REASON": lambda p: p.status_reason,
        "CREATED": lambda p: p.created_at,
    }
    with Client(url) as client:
        show_list(client.list_pools(**filters), columns, output)


@app.command()
def show(pool: PoolArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Show a pool and the AP of its evaluated subnets."""
    with Client(url) as client:
        _show(client.get_pool(pool), output)


@app.command()
def watch(pool: PoolArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Print the events of a pool until its training has ended.

    The exit code is 1 unless the pool is then ready.
    """
    with Client(url) as client:
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
        "subnets": f"{pool.spec.space.space.size:,}",
    }
    if pool.progress is not None and pool.status is PoolStatus.TRAINING:
        at = pool.progress
        rows["progress"] = f"{at.phase}, epoch {at.epoch} of {at.num_epochs}"
    for each in pool.subnets:
        rows[f"AP of {each.subnet} at {each.resolution}"] = f"{percent(each.ap)} %"
    show_one(pool, rows, output)


add_calls(app, "pool", Client.ask_of_pool, _show)
add_deletion(app, "pool", "pools")
