"""The results of a search: the Pareto front, the report, plot and files."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from api import schemas
from api.client import Client
from api.schemas.trials import SplitAp
from cli.guided.watch import stage_table
from cli.output import text
from cli.resources.search_report import print_report, with_interval
from searchd.domain.trial import TrialRole

_MARKS = {  # drawn in this order, the single base on top
    TrialRole.SEARCH: ("tab:blue", "o", 18),
    TrialRole.FINISH: ("tab:cyan", "^", 30),
    TrialRole.CONTROL: ("tab:orange", "o", 18),
    TrialRole.MACS_CONTROL: ("tab:brown", "o", 18),
    TrialRole.BASE: ("black", "*", 70),
}

WIDTH = 120
"""Width of the written report in columns."""


def show(
    client: Client, console: Console, folder: Path, search: str, durations_s: dict[str, float]
) -> None:
    """Print the results of a search that succeeded, and draw the plot.

    Args:
        client: Client of the service that ran the search.
        console: Console to print to.
        folder: Folder that pareto.png is written to.
        search: Name of the search.
        durations_s: Duration of each stage in seconds.
    """
    pareto = client.pareto(search, y="ap")
    console.print(_front_table(pareto))
    plot = plot_front(pareto, folder / "pareto.png")
    console.print(f"Plot of AP against MACs: {plot}")
    found = client.report(search)
    print_report(console, found)
    shown = {each.label: each for each in found.detectors}
    base, best = shown["base"], shown["best"]
    lineage = client.get_detector(best.trial_id).lineage
    names = [trial_id.removeprefix(f"{found.search_id}-") for trial_id in lineage]
    console.print(f"Lineage of the best: {' -> '.join(names)}")
    console.print("Checkpoints (safetensors; the API has those of every trial in /detectors/ID):")
    for detector in (base, best):
        files = {file.name: file.uri for file in client.get_detector(detector.trial_id).artifacts}
        console.print(f"  {detector.trial}: {files['student']}", soft_wrap=True)
    console.print(stage_table(durations_s))


def write(client: Client, folder: Path, search: str, durations_s: dict[str, float]) -> Path:
    """Write what `show` prints to report.txt in a folder, beside pareto.png.

    Returns:
        The path of the report.
    """
    path = folder / "report.txt"
    with path.open("w", encoding="utf-8") as file:
        show(client, Console(file=file, width=WIDTH), folder, search, durations_s)
    return path


def plot_front(pareto: schemas.Pareto, path: Path) -> Path:
    """Plot AP against MACs of every detector at every resolution; a line joins the front.

    AP is of the validation split, by which the search selects. Points of the front that were
    measured on the test split are drawn with their intervals too.

    Args:
        pareto: Points with x="macs" and y="ap".
        path: The PNG file to write.

    Returns:
        The path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for role, (colour, marker, size) in _MARKS.items():
        points = [p for p in (*pareto.dominated, *pareto.front) if p.role is role]
        axes.scatter(
            [p.evaluation.macs / 1e6 for p in points],
            [100 * p.evaluation.ap for p in points],
            color=colour,
            marker=marker,
            s=size,
            label=role.value,
        )
    axes.step(
        [p.evaluation.macs / 1e6 for p in pareto.front],
        [100 * p.evaluation.ap for p in pareto.front],
        where="post",
        color="tab:red",
        linewidth=1,
        label="Pareto front",
    )
    tested = [(p, p.test) for p in pareto.front if p.test is not None]
    if tested:
        axes.errorbar(
            [p.evaluation.macs / 1e6 for p, _ in tested],
            [100 * test.ap for _, test in tested],
            yerr=list(zip(*(_error(test) for _, test in tested), strict=True)),
            fmt="D",
            markersize=4,
            color="tab:green",
            linewidth=1,
            label="front on test, 95 % interval",
        )
    axes.set(
        xlabel="multiply-accumulates of one image (M)", ylabel="AP (%); on validation unless said"
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)
    return path


def _error(measured: SplitAp) -> tuple[float, float]:
    """Return the lengths of the interval below and above the AP, in percent."""
    if measured.low is None or measured.high is None:
        return 0.0, 0.0
    return (
        max(0.0, 100 * (measured.ap - measured.low)),
        max(0.0, 100 * (measured.high - measured.ap)),
    )


def _front_table(pareto: schemas.Pareto) -> Table:
    table = Table(title="Pareto front of AP on validation against MACs")
    for name in ("trial", "input", "test AP %"):
        table.add_column(name)
    for name in ("AP %", "AP50 %", "MACs M", "params k", "latency ms", "score"):
        table.add_column(name, justify="right")
    for point in pareto.front:
        table.add_row(
            point.trial,
            str(point.evaluation.resolution),
            text(with_interval(point.test)),
            *_figures(point.evaluation, point.params),
        )
    return table


def _figures(evaluation: schemas.Evaluation, params: int) -> list[str]:
    return [
        f"{100 * evaluation.ap:.1f}",
        f"{100 * evaluation.ap50:.1f}",
        f"{evaluation.macs / 1e6:.1f}",
        f"{params / 1e3:.0f}",
        f"{1e3 * evaluation.latency_s:.1f}",
        f"{100 * (evaluation.score or 0):.1f}",
    ]
