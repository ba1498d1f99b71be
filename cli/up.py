"""`searchd up`: the whole service on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from searchd import logs


def up(
    data_folder: Annotated[
        Path,
        typer.Option(file_okay=False, help="Folder for the database, artifacts, logs and Ray."),
    ] = Path("searchd-data"),
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of the API and the web page; 0 chooses a free one. SEARCHD_API_PORT, or "
            "8080, by default.",
        ),
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option(min=1, help="Number of CPUs that trials may use. All CPUs by default."),
    ] = None,
) -> None:
    """Start the service on this machine: API, coordinator and a local Ray. Ctrl-C stops it."""
    from cli.local_service import Service, run

    service = Service(data_folder, num_cpus=cpus, api_port=port)
    logs.configure(service.settings.log_format)
    run(service, typer.echo)
