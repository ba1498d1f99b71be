"""`--validate-only`: the checks of submission, by the service or, without one, as far as this
machine can see."""

import typer

from api.client import Client, Submitted, UnreachableError
from cli.spec_places import SpecSource, placing

_UNCHECKED = (
    "whether the name is free, whether the resources that the spec names exist and fit, and "
    "whether the cluster has the CPUs and GPUs"
)


def validate(spec: Submitted, noun: str, url: str, source: SpecSource | None = None) -> None:
    """Check a spec as submission would, and print the result to stderr.

    Args:
        spec: The spec.
        noun: What users call what it describes, for example "search".
        url: URL of the service.
        source: The file that the spec is from; None: it is from no file.

    Raises:
        ApiError: The service would refuse the spec.
        InvalidValueError: There is no service, and a file that the spec names is not there.
        typer.Exit: The service would refuse fields of the file; they have been printed.
    """
    with placing(source):
        _validate(spec, noun, url)


def _validate(spec: Submitted, noun: str, url: str) -> None:
    try:
        with Client(url) as client:
            found = client.validate(spec)
    except UnreachableError:
        from api.submission import SubmissionChecks  # takes long, and is seldom needed

        SubmissionChecks(files=True).check(spec)
        typer.echo(
            f"warning: no service at {url}: only the fields of the spec and the files on this "
            f"machine were checked, not {_UNCHECKED}",
            err=True,
        )
        typer.echo(f"{noun} {spec.name} is valid as far as it was checked", err=True)
        return
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{noun} {spec.name} would be accepted", err=True)
