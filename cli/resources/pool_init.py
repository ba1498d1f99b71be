"""`searchd pool init` and `searchd distillation init`: specs for the user's own data, with a reason
for each number."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from api.client import ApiError, Client
from cli import recommendation
from cli.errors import fail
from cli.service import URL, UrlOption
from cli.starting_weights import ConfigOption, FromOption, LicenceOption, PretrainedOption
from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import DatasetStatus
from searchd.recommend import Recommendation
from searchd.recommend.distillation import distillation_yaml
from searchd.recommend.document import Value, plain, to_yaml
from searchd.spec import PoolSpec

DatasetOption = Annotated[
    str, typer.Option(help="Name or id of the data set, which the service has checked.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", dir_okay=False, help="File to write. NAME.yaml by default."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the file if it exists.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random draw.")]


def pool(
    name: Annotated[str, typer.Argument(help="Name of the pool to be.")],
    dataset: DatasetOption,
    pretrained: PretrainedOption = None,
    budget: recommendation.BudgetOption = recommendation.DEFAULT_BUDGET,
    cpus: recommendation.CpusOption = None,
    gpus: recommendation.GpusOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    url: UrlOption = URL,
) -> None:
    """Write the spec of a pool of teachers that fits a data set, this machine and a time.

    Each number has a comment that says why. The budget is that of the search that the pool is for,
    of which its training takes a part. Nothing is submitted.
    """
    options = recommendation.Options(
        budget=budget, cpus=cpus, gpus=gpus, seed=seed, pretrained=pretrained
    )
    file = _free(out or Path(f"{name}.yaml"), overwrite)
    made = _made(name, dataset, options, url)
    document = {**made.documents["pool"], "name": Value(name)}
    PoolSpec.model_validate(plain(document))
    text = to_yaml(
        document,
        f"The teachers {name}. Change any number; fields that are not here have defaults.",
    )
    _write(file, text, f"searchd pool create {file}")


def distillation(
    name: Annotated[str, typer.Argument(help="Name of the distillation to be.")],
    dataset: DatasetOption,
    pool: Annotated[
        str, typer.Option(help="Name of the pool whose subnets teach, trained or to be trained.")
    ],
    source: FromOption = None,
    config: ConfigOption = None,
    pretrained: PretrainedOption = None,
    licence: LicenceOption = None,
    budget: recommendation.BudgetOption = recommendation.DEFAULT_BUDGET,
    cpus: recommendation.CpusOption = None,
    gpus: recommendation.GpusOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    url: UrlOption = URL,
) -> None:
    """Write the spec of a distillation that fits a data set, this machine and a time.

    Each number has a comment that says why. The student is the base that a search of this budget
    would have. Nothing is submitted.
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
    file = _free(out or Path(f"{name}.yaml"), overwrite)
    made = _made(name, dataset, options, url)
    _note_missing(pool, url)
    text = distillation_yaml(made.documents["search"], name, pool, made.plan.finish_epochs)
    _write(file, text, f"searchd distillation submit {file}")


def _free(file: Path, overwrite: bool) -> Path:
    if file.exists() and not overwrite:
        raise ConflictError(f"{file} exists; delete it, or give --overwrite")
    return file


def _made(name: str, dataset: str, options: recommendation.Options, url: str) -> Recommendation:
    recommendation.check_name(name)
    options.check()
    with Client(url) as client:
        found = client.get_dataset(dataset)
    if found.status is not DatasetStatus.READY or found.summary is None:
        raise fail(f"data set {found.name} is {found.status}: {found.status_reason}")
    statistics, classes = found.summary.get("statistics"), found.summary["class_names"]
    return recommendation.make(name, found.name, statistics, classes, options)


def _note_missing(pool: str, url: str) -> None:
    """Say if a pool does not exist: it may be trained later, or its name be misspelt."""
    try:
        with Client(url) as client:
            client.get_pool(pool)
    except ApiError as error:
        if error.problem.status != HTTPStatus.NOT_FOUND:
            raise
        typer.echo(f"note: {error}", err=True)


def _write(file: Path, text: str, command: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    typer.echo(f"Read and change {file}, then submit it:\n  {command}")
