"""`searchd search init`: specs of a first search, with a reason for each number."""

from pathlib import Path
from typing import Annotated

import typer

from api.client import Client
from cli import recommendation
from cli.errors import fail
from cli.service import URL, UrlOption
from cli.starting_weights import ConfigOption, FromOption, LicenceOption, PretrainedOption
from searchd.domain.lifecycle import DatasetStatus


def init(
    name: Annotated[str, typer.Argument(help="Name of the search to be.")],
    dataset: Annotated[
        str, typer.Option(help="Name or id of the data set, which the service has checked.")
    ],
    source: FromOption = None,
    config: ConfigOption = None,
    pretrained: PretrainedOption = None,
    licence: LicenceOption = None,
    budget: recommendation.BudgetOption = recommendation.DEFAULT_BUDGET,
    cpus: recommendation.CpusOption = None,
    gpus: recommendation.GpusOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the teachers and the search.")] = 0,
    folder: Annotated[
        Path, typer.Option(file_okay=False, help="Folder to write the two specs into.")
    ] = Path(),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace specs of this name that exist.")
    ] = False,
    url: UrlOption = URL,
) -> None:
    """Write specs of a pool of teachers and a search that fit a data set, this machine and a time.

    Each number has a comment that says why. Nothing is submitted.
    """
    options = recommendation.Options(
        budget=budget,
        cpus=cpus,
        gpus=gpus,
        seed=seed,
        source=source,
        config=config,
        pretrained=pretrained,
        licence=licence,
    )
    recommendation.check_name(name)
    options.check()
    files = recommendation.SpecFiles.below(folder, name)
    if not overwrite:
        files.check_absent()
    with Client(url) as client:
        found = client.get_dataset(dataset)
    if found.status is not DatasetStatus.READY or found.summary is None:
        raise fail(f"data set {found.name} is {found.status}: {found.status_reason}")
    statistics, classes = found.summary.get("statistics"), found.summary["class_names"]
    made = recommendation.make(name, found.name, statistics, classes, options)
    files.write(made)
    typer.echo(recommendation.describe(made))
    typer.echo(
        f"Read and change the specs, then submit them:\n"
        f"  searchd pool create {files.pool}\n"
        f"  searchd search submit {files.search}\n"
        f"  searchd search watch {made.search.name}"
    )
