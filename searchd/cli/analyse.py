"""`searchd analyse`: what searches and trained detectors did, as JSON and plots."""

from pathlib import Path
from typing import Annotated

import typer

from api.client import Client
from searchd.cli import search_analytics
from searchd.cli.output import Format, FormatOption, percent, show_json, show_rows
from searchd.cli.service import URL, UrlOption

app = typer.Typer(no_args_is_help=True, help="Analyses of searches and of trained detectors.")


@app.command("search")
def analyse_search(
    search: Annotated[str, typer.Argument(help="Name or id.")],
    plot: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder to draw the figures into.")
    ] = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Scores by generation, gains by action, MACs by stage, teachers' sizes, front over time."""
    with Client(url) as client:
        gathered = search_analytics.gather(client, search)
    if plot is not None:
        _announce(search_analytics.plot(gathered, plot))
    found = search_analytics.document(gathered)
    if output is Format.JSON:
        show_json({"search": search, **found})
        return
    show_rows(
        ("GENERATION", "BEGUN BY", "BEST SCORE %"),
        [(g["generation"], g["trial"], percent(g["score"], 2)) for g in found["generations"]],
    )
    show_rows(
        ("ACTION", "TRIALS", "GAINED", "SUM OF GAINS"),
        [
            (action, g["trials"], g["successes"], f"{100 * g['sum_of_gains']:.2f}")
            for action, g in found["gains_by_action"].items()
        ],
    )


def _announce(files: list[Path]) -> None:
    for file in files:
        typer.echo(f"drew {file}", err=True)
