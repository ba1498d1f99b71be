"""Arguments and options that analyses of detectors share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

TrialArgument = Annotated[
    str, typer.Argument(metavar="TRIAL", help="Id of the trial to analyse, such as s-7f3k2m-12.")
]
TRIALS_HELP = "Ids of the trials to compare, such as s-7f3k2m-12."
PlotOption = Annotated[
    Path | None,
    typer.Option("--plot", dir_okay=False, help="PNG file to draw. No plot by default."),
]
DeviceOption = Annotated[
    Literal["cpu", "cuda"], typer.Option("--device", help="Device to compute on: cpu or cuda.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random draw.")]
ImagesOption = Annotated[
    int,
    typer.Option(
        "--images", min=1, help="Number of images to use: the first ones that have an object."
    ),
]
