"""Exports on this machine: requested, waited for, downloaded, or given as files."""

import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from api import schemas
from api.client import ApiError, Client
from cli.errors import fail
from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import ExportStatus
from searchd.domain.transitions import is_final
from searchd.spec import ExportSpec

POLL_S = 1.0

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="EXPORT|TRIAL",
        help="Folder that `searchd detector export` wrote, or the exported file in it; or the id "
        "or name of an export; or the id of a trial such as s-7f3k2m-12, whose detector is "
        "exported as ONNX first if it was not.",
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option("--threads", min=1, help="Number of CPU threads that the detector computes with."),
]


def fetch(
    url: str, trial: str, spec: ExportSpec, folder: Path
) -> tuple[schemas.Export, list[Path]]:
    """Export a detector, wait, and download the files into a folder.

    Raises:
        ApiError: There is no such trial, or it has no detector.
        typer.Exit: The export failed.
    """
    with Client(url) as client:
        (ended,) = wait(client, [client.create_export(trial, spec)])
        return ended, _download(client, ended, folder)


def wait(
    client: Client, exports: Sequence[schemas.Export], *, poll_s: float = POLL_S
) -> list[schemas.Export]:
    """Wait until exports have ended, and show on stderr what they do."""
    from rich.console import Console  # takes longer to import than most commands

    started, found = time.monotonic(), list(exports)
    with Console(stderr=True).status("") as shown:
        while running := [each for each in found if not is_final(each.status)]:
            seconds = time.monotonic() - started
            more = f" and {len(running) - 1} more" if len(running) > 1 else ""
            shown.update(f"{running[0].name}: {running[0].status_reason}{more} ({seconds:.0f} s)")
            time.sleep(poll_s)
            found = [each if is_final(each.status) else _again(client, each) for each in found]
    return found


def located(url: str, source: str, folder: Path) -> Path:
    """Return where an export lies on this machine. One that lies in a service, or whose detector
    does, is downloaded into a folder.

    Raises:
        ApiError: The service has neither such an export nor such a trial.
        typer.Exit: The export failed or has not ended.
    """
    path = Path(source)
    if path.exists():
        return path
    if "/" in source or path.suffix:
        raise InvalidValueError(f"{source} does not exist; give a folder with an export, or an id")
    with Client(url) as client:
        export = _export(client, source)
        if export is not None:
            _download(client, export, folder)
            return folder
    fetch(url, source, ExportSpec(), folder)
    return folder


def _export(client: Client, reference: str) -> schemas.Export | None:
    try:
        return client.find_export(reference)
    except ApiError as error:
        if error.problem.status != HTTPStatus.NOT_FOUND:
            raise
    return None


def _again(client: Client, export: schemas.Export) -> schemas.Export:
    return client.get_export(export.trial_id, export.id)


def _download(client: Client, export: schemas.Export, folder: Path) -> list[Path]:
    if export.status is not ExportStatus.READY:
        raise fail(f"export {export.name} is {export.status}: {export.status_reason}")
    folder.mkdir(parents=True, exist_ok=True)
    return client.download_export(export, folder)
