"""`searchd up`: the whole service on this machine."""

from pathlib import Path
from typing import Annotated

import typer


def up(
    data_folder: Annotated[
        Path, typer.Option(file_okay=False, help="Everything is kept below.")
    ] = Path("searchd-data"),
    port: Annotated[
        int | None, typer.Option(help="Of API and web page; 0 takes a free one.")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs that trials may use; all by default.")
    ] = None,
) -> None:
    """Start API, coordinator and a local Ray; Ctrl-C stops them, and nothing else."""
    from cli.local_service import Service, run

    run(Service(data_folder, num_cpus=cpus, api_port=port), typer.echo)
