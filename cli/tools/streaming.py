"""`searchd analyse streaming`: AP of detectors that take time, on streams of frames."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Format, FormatOption, percent, quiet_imports, show_json, show_rows
from cli.service import URL, UrlOption
from cli.tools.analysis_options import TRIALS_HELP, DeviceOption, SeedOption
from cli.tools.evaluate import SplitOption
from searchd.domain.errors import InvalidValueError

if TYPE_CHECKING:  # it imports torch
    from cli.tools.streamed import Streamed

SOURCES = ("trial", "device", "here")

LatencyOption = Annotated[
    str,
    typer.Option(
        "--latency",
        metavar="trial|device|here|MS",
        help="Time that the detector takes for a frame: trial, the median that was measured with "
        "its evaluation; device, that on the device of its search (score.device), measured or else "
        "predicted; here, drawn from 20 passes that are timed now; or a number of milliseconds.",
    ),
]
FpsOption = Annotated[
    float, typer.Option("--fps", help="Frames in a second. That of Argoverse-HD is 30.")
]
FrontOption = Annotated[
    str | None,
    typer.Option(
        "--front",
        metavar="SEARCH",
        help="Name or id of a search, all detectors of whose Pareto front are measured, each at "
        "its resolution. Default: the given trials, at the resolution of their best score.",
    ),
]


def streaming(
    trials: Annotated[list[str] | None, typer.Argument(metavar="TRIAL", help=TRIALS_HELP)] = None,
    front: FrontOption = None,
    split: SplitOption = "validation",
    latency: LatencyOption = "trial",
    fps: FpsOption = 30.0,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Measure streaming AP: each frame is compared with the newest output that is there by then.

    The data set needs sequences. The detector takes the newest frame whenever it is free.
    """
    if bool(trials) == bool(front):
        raise typer.BadParameter("give trials, or --front SEARCH")
    wanted = parsed_latency(latency)
    with quiet_imports():
        # Imported here because it imports torch, which other commands do not need.
        from cli.tools.streamed import Settings, of_front, of_trials
    settings = Settings(split=split, latency=wanted, fps=fps, seed=seed, device=device)
    found = of_front(url, front, settings) if front else of_trials(url, trials or [], settings)
    _show(found, {"split": split, "fps": fps}, output)


def parsed_latency(text: str) -> str | float:
    """Return where latencies come from, or a number of seconds.

    Raises:
        InvalidValueError: It is neither.
    """
    if text in SOURCES:
        return text
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = math.nan
    if not 0 <= milliseconds < math.inf:
        raise InvalidValueError(
            f"--latency {text} is none of {', '.join(SOURCES)}, and no number of milliseconds that "
            "is at least 0, such as 33.3"
        )
    return milliseconds / 1000


def _show(found: "Sequence[Streamed]", facts: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        show_json({**facts, "detectors": [asdict(each) for each in found]})
        return
    header = ("TRIAL", "RESOLUTION", "MS", "STREAMING AP %", "AP50 %", "AP %", "FRAMES TAKEN %")
    show_rows((*header, "AGE IN FRAMES"), map(_cells, found), output)


def _cells(each: "Streamed") -> Sequence[object]:
    result = each.result
    return (
        each.trial,
        each.resolution,
        f"{1000 * each.latency_s:.1f}",
        percent(result.streaming.ap),
        percent(result.streaming.ap50),
        percent(result.offline.ap),
        percent(result.num_taken / result.num_frames),
        None if result.mean_age is None else f"{result.mean_age:.2f}",
    )
