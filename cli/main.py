"""The entry point `searchd`."""

import logging
import sys

import typer

from cli.errors import EXIT_CODES
from cli.lazy import LazyGroup


class _Commands(LazyGroup):
    targets = {
        "up": (
            "cli.up:up",
            "Start the service on this machine: API, coordinator and a local Ray. Ctrl-C stops it.",
        ),
        "run": (
            "cli.guided.run:run",
            "Improve a detector on your own data: check the data, choose all settings, train a "
            "base and teachers, search, finish the best, compare with the control, and export the "
            "best detector.",
        ),
        "demo": (
            "cli.guided.demo:demo",
            "Run a search on synthetic data, in about 10 minutes on two cores without a GPU.",
        ),
        "backup": (
            "cli.backup:backup",
            "Copy the database and the artifact store into a folder. The service may run "
            "meanwhile.",
        ),
        "restore": (
            "cli.backup:restore",
            "Restore a backup into an empty database, and the artifact store. The service must not "
            "run.",
        ),
        "doctor": (
            "cli.doctor:doctor",
            "Check this machine: show what is missing, and the command that fixes it.",
        ),
        "dataset": (
            "cli.resources.datasets:app",
            "Data sets in COCO format, on which detectors are trained.",
        ),
        "pool": (
            "cli.resources.pools:app",
            "Elastic teacher pools: supernets whose subnets teach the students of searches.",
        ),
        "teacher": (
            "cli.resources.teachers:app",
            "Teachers of searches and distillations: subnets, students of trials, detectors of "
            "mmdet, and detectors that the service trains.",
        ),
        "search": (
            "cli.resources.searches:app",
            "Searches for detectors that are better than a base detector.",
        ),
        "distillation": (
            "cli.resources.distillations:app",
            "Distillations, in which teachers teach a student one by one.",
        ),
        "detector": (
            "cli.resources.detectors:app",
            "Trained detectors: exported for use without searchd, compared, and tried on images "
            "and data sets.",
        ),
        "device": (
            "cli.resources.devices:app",
            "Devices: machines whose latency searches count as cost, with their lookup tables.",
        ),
        "token": (
            "cli.resources.tokens:app",
            "Access tokens of the API, which SEARCHD_AUTH=on requires.",
        ),
        "webhook": (
            "cli.resources.webhooks:app",
            "Webhooks, which tell other services of ends, failures and new incumbents.",
        ),
        "analyse": (
            "cli.tools.analyse:app",
            "Analyses of searches and of trained detectors.",
        ),
        "schema": (
            "cli.schema:schema",
            "Print the JSON Schema of a kind of spec, for editors that complete and check YAML and "
            "JSON.",
        ),
        "completion": (
            "cli.completion:completion",
            "Print the script that completes commands and options in bash, zsh or fish.",
        ),
        "tools": (
            "cli.tools.commands:app",
            "Computations of the papers, which need no running service.",
        ),
    }


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # otherwise paragraphs keep the line breaks of the docstring
    epilog=EXIT_CODES,
)


@app.callback()
def searchd() -> None:
    """Improve object detectors by architecture search, pruning and distillation."""


def main() -> None:
    """Run the command line. Logs go to stderr, results to stdout."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("httpx", "alembic", "aiobotocore", "botocore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # httpx does without its own command line, which would import rich and pygments.
    sys.modules["httpx._main"] = None  # type: ignore[assignment] # then its import is refused
    app()


if __name__ == "__main__":
    main()
