"""`searchd dataset recheck`, `rename` and `delete`: changes of a registered data set."""

from typing import Annotated

import typer

from api.client import Client
from cli.output import Format, FormatOption
from cli.resources.dataset_views import DatasetArgument, show_checked, show_dataset
from cli.service import URL, UrlOption


def recheck(
    dataset: DatasetArgument,
    wait: Annotated[bool, typer.Option(help="Whether to wait until the files are checked.")] = True,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Check the files of a data set again, for example after annotations have changed.

    Refused while running work uses the data set.
    """
    with Client(url) as client:
        found = client.recheck_dataset(dataset)
        if wait:
            found = client.wait_for_dataset(found.id)
    show_checked(found, output)


def rename(
    dataset: DatasetArgument,
    name: Annotated[str, typer.Argument(help="New name of the data set.")],
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Rename a data set. Everything that uses it then refers to the new name."""
    with Client(url) as client:
        show_dataset(client.rename_dataset(dataset, name), output)


def delete(dataset: DatasetArgument, url: UrlOption = URL) -> None:
    """Delete a data set that no pool, teacher, search or distillation uses.

    Annotation files that its check wrote in the artifact store are deleted too; images and your own
    annotation files are not touched.
    """
    with Client(url) as client:
        client.delete_dataset(dataset)
    typer.echo(f"deleted data set {dataset}")
