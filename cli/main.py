"""The entry point `searchd`."""

import logging
import sys

import typer

from cli.doctor import doctor
from cli.errors import EXIT_CODES, ReadableErrors
from cli.guided.demo import demo
from cli.guided.run import run
from cli.resources import (
    datasets,
    detectors,
    devices,
    distillations,
    pools,
    searches,
    teachers,
    tokens,
)
from cli.tools import analyse, commands
from cli.up import up

app = typer.Typer(
    cls=ReadableErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # otherwise paragraphs keep the line breaks of the docstring
    help="Improve object detectors by architecture search, pruning and distillation.",
    epilog=EXIT_CODES,
)
app.command()(up)
app.command()(run)
app.command()(demo)
app.command()(doctor)
app.add_typer(datasets.app, name="dataset")
app.add_typer(pools.app, name="pool")
app.add_typer(teachers.app, name="teacher")
app.add_typer(searches.app, name="search")
app.add_typer(distillations.app, name="distillation")
app.add_typer(detectors.app, name="detector")
app.add_typer(devices.app, name="device")
app.add_typer(tokens.app, name="token")
app.add_typer(analyse.app, name="analyse")
app.add_typer(commands.app, name="tools")


def main() -> None:
    """Run the command line. Logs go to stderr, results to stdout."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    app()


if __name__ == "__main__":
    main()
