"""The results of a search: the Pareto front, base, best and control compared, plot and files."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from api import schemas
from api.client import Client
from cli.guided.watch import stage_table
from searchd.domain.trial import TrialRole

_MARKS = {  # drawn in this order, the single base on top
    TrialRole.SEARCH: ("tab:blue", "o", 18),
    TrialRole.CONTROL: ("tab:orange", "o", 18),
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
    pareto = client.pareto(search)
    trials = list(client.trials(search))
    console.print(_front_table(pareto))
    plot = plot_front(pareto, folder / "pareto.png")
    console.print(f"Plot of AP against MACs: {plot}")
    base = _of_role(trials, TrialRole.BASE)[0]
    best = max(_scored(trials, TrialRole.SEARCH), key=_score)
    controls = _scored(trials, TrialRole.CONTROL)
    console.print(_comparison(base, best, controls))
    console.print(verdict(best, controls))
    lineage = client.get_detector(best.id).lineage
    names = [trial_id.removeprefix(f"{best.search_id}-") for trial_id in lineage]
    console.print(f"Lineage of the best: {' -> '.join(names)}")
    console.print("Checkpoints (safetensors; the API has those of every trial in /detectors/ID):")
    for trial in (base, best):
        files = {file.name: file.uri for file in client.get_detector(trial.id).artifacts}
        console.print(f"  {trial.name}: {files['student']}", soft_wrap=True)
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

    Args:
        pareto: Points with x="macs" and y="ap".
        path: The PNG file to write.

    Returns:
        The path.
    """
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
    axes.set(xlabel="multiply-accumulates of one image (M)", ylabel="AP on validation (%)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)
    return path


def verdict(best: schemas.Trial, controls: list[schemas.Trial]) -> str:
    """Say in words whether the best detector beats the control."""
    noise = (
        "One seed measures no noise, and the best was chosen by the score that is compared: "
        "part of the difference may be chance."
    )
    if not controls:
        return "No control was trained, so the gain of training alone is unknown."
    control = controls[-1]
    gain = 100 * (_score(best) - _score(control))
    said = (
        f"The best detector (trial {best.name}) beats the control by {gain:.1f} points of score"
        if gain > 0
        else f"The best detector (trial {best.name}) does NOT beat the control: "
        f"{gain:.1f} points of score"
    )
    said += f" ({100 * _score(best):.1f} against {100 * _score(control):.1f}, "
    said += "both trained for the same number of further epochs)."
    stronger = max(controls, key=_score)
    if _score(stronger) > max(_score(control), _score(best)):
        said += (
            f" Note that {stronger.name}, with fewer epochs, scored more: "
            f"{100 * _score(stronger):.1f}."
        )
    return f"{said}\n{noise}"


def _front_table(pareto: schemas.Pareto) -> Table:
    table = Table(title="Pareto front: AP against MACs")
    for name in ("trial", "input"):
        table.add_column(name)
    for name in ("AP %", "AP50 %", "MACs M", "params k", "latency ms", "score"):
        table.add_column(name, justify="right")
    for point in pareto.front:
        table.add_row(
            point.trial, str(point.evaluation.resolution), *_figures(point.evaluation, point.params)
        )
    return table


def _comparison(base: schemas.Trial, best: schemas.Trial, controls: list[schemas.Trial]) -> Table:
    table = Table(title="Each at its best resolution")
    for name in ("detector", "input"):
        table.add_column(name)
    for name in ("AP %", "AP50 %", "MACs M", "params k", "latency ms", "score"):
        table.add_column(name, justify="right")
    rows = [("base", base), (f"best (trial {best.name})", best)]
    if controls:
        rows.append((f"control ({len(controls)} x as long as a trial)", controls[-1]))
    for name, trial in rows:
        assert trial.best is not None  # each was scored
        assert trial.params is not None
        table.add_row(name, str(trial.best.resolution), *_figures(trial.best, trial.params))
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


def _of_role(trials: list[schemas.Trial], role: TrialRole) -> list[schemas.Trial]:
    return [trial for trial in trials if trial.role is role]


def _scored(trials: list[schemas.Trial], role: TrialRole) -> list[schemas.Trial]:
    return [trial for trial in _of_role(trials, role) if trial.score is not None]


def _score(trial: schemas.Trial) -> float:
    assert trial.score is not None  # of trials that were scored
    return trial.score
