"""Plots of analyses as PNG files. Neither torch nor the service is imported."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Interval = tuple[float, float, float]
"""Low end, AP and high end, in [0, 1]."""


@contextmanager
def drawing(path: Path, *, rows: int = 1, columns: int = 1, **labels: Any) -> Iterator[Any]:
    """Yield axes to draw on; the file is written when the block ends.

    Args:
        path: The PNG file; its folder is created if it is missing.
        rows: Number of rows of axes.
        columns: Number of columns of axes; several axes are a flat array, row by row.
        labels: Labels of all axes: xlabel, ylabel, title.
    """
    # Imported here since it takes long, and most analyses are not drawn.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * columns, 4.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in every:
        axes.set(**labels)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    yield every if len(every) > 1 else every[0]
    for axes in every:
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def plot_errors(detectors: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Plot the AP that each kind of error costs, by IoU threshold; one line per detector.

    Args:
        detectors: The errors of each detector at every threshold, by the detector's name.
        path: The PNG file.
    """
    kinds = list(next(iter(detectors.values()))[0]["lost_ap"])
    with drawing(path, rows=2, columns=3, xlabel="IoU threshold", ylabel="AP lost (%)") as every:
        for axes, kind in zip(every, kinds, strict=True):
            axes.set_title(kind)
            for name, errors in detectors.items():
                axes.plot(
                    [each["threshold"] for each in errors],
                    [100 * each["lost_ap"][kind] for each in errors],
                    marker="o",
                    markersize=3,
                    label=name,
                )


def plot_landscape(landscape: Mapping[str, Any], path: Path) -> None:
    """Plot the contours of the loss."""
    with drawing(path, xlabel="second direction", ylabel="first direction") as axes:
        coordinates = landscape["coordinates"]
        contours = axes.contourf(coordinates, coordinates, landscape["losses"], levels=20)
        axes.figure.colorbar(contours, label="detection loss")


def plot_levels(matches: Mapping[str, Any], path: Path) -> None:
    """Plot the number of regions that match at each difference of levels."""
    with drawing(path, xlabel="student's level less teacher's", ylabel="regions") as axes:
        axes.bar([int(offset) for offset in matches["offsets"]], list(matches["offsets"].values()))


def plot_correlations(correlations: Mapping[str, Any], path: Path) -> None:
    """Plot the correlation matrices of student and teacher, and their difference."""
    names = correlations["classes"]
    with drawing(path, columns=3) as every:
        for axes, part in zip(every, ("student", "teacher", "difference"), strict=True):
            image = axes.imshow(correlations[part], vmin=-1, vmax=1, cmap="RdBu")
            axes.set_title(part)
            axes.grid(visible=False)
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_yticks(range(len(names)), names)
        every[-1].figure.colorbar(image, ax=list(every))


def plot_curves(curves: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Plot detection loss and AP by epoch; one line per detector."""
    with drawing(path, columns=2, xlabel="epoch") as (left, right):
        left.set(ylabel="training detection loss")
        right.set(ylabel="AP on validation (%)")
        for name, each in curves.items():
            losses, aps = each["losses"], each["aps"]
            left.plot(
                [e["epoch"] for e in losses], [e["detection_loss"] for e in losses], label=name
            )
            right.plot(
                [e["epoch"] for e in aps], [100 * e["ap"] for e in aps], marker="o", label=name
            )


def plot_sweep(field: str, students: Sequence[tuple[str, Interval]], path: Path) -> None:
    """Plot AP with its interval for each value of a sweep and each baseline.

    Args:
        field: The setting that is swept.
        students: A label, and low end, AP and high end in [0, 1], in the order of the plot.
        path: The PNG file.
    """
    with drawing(path, xlabel=field, ylabel="AP (%), with 95 % interval") as axes:
        for label, (low, ap, high) in students:
            around = ([100 * (ap - low)], [100 * (high - ap)])
            axes.errorbar([label], [100 * ap], yerr=around, fmt="o", color="C0", capsize=4)
        axes.tick_params(axis="x", labelrotation=30)


def plot_benchmark(rows: Sequence[Any], path: Path) -> None:
    """Plot AP against latency, and the sizes, of detectors in several formats.

    Args:
        rows: Rows of `cli.tools.benchmark_plan` that were timed.
        path: The PNG file.
    """
    names = list(dict.fromkeys(row.shown_name for row in rows))
    with drawing(path, columns=2) as (left, right):
        left.set(xlabel="milliseconds for one image: median, to 95 %", ylabel="AP (%)")
        right.set(xlabel="MB")
        for number, name in enumerate(names):
            own = [row for row in rows if row.shown_name == name]
            _plot_latencies(left, own, name, f"C{number}")
            labels = [f"{row.format} {row.precision}, {name}" for row in own]
            right.barh(labels, [(row.size_bytes or 0) / 1e6 for row in own], color=f"C{number}")
        right.invert_yaxis()


def _plot_latencies(axes: Any, rows: Sequence[Any], name: str, colour: str) -> None:
    """Plot a point for each format of one detector, by AP on the test split if there is one."""
    has_test = all(row.test_ap is not None for row in rows)
    aps = [100 * (row.test_ap if has_test else row.ap) for row in rows]
    medians = [1000 * row.latency_s for row in rows]
    later = [1000 * (row.latency_p95_s - row.latency_s) for row in rows]
    split = "test" if has_test else "validation"
    axes.errorbar(
        medians,
        aps,
        xerr=([0.0] * len(rows), later),
        fmt="o",
        color=colour,
        alpha=0.8,
        label=f"{name}, {split}",
    )
    for row, x, y in zip(rows, medians, aps, strict=True):
        place = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": "small"}
        axes.annotate(f"{row.format} {row.precision}", (x, y), **place)
