"""Plots of analyses, as PNG files. Knows matplotlib; nothing of torch or the service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@contextmanager
def drawing(path: Path, *, columns: int = 1, **labels: Any) -> Iterator[Any]:
    """Axes to draw on; the file is written when the block ends.

    Args:
        path: The PNG; its folder is made if it is missing.
        columns: Number of axes side by side; more than one are given as an array.
        labels: Of every one of the axes: xlabel, ylabel, title.
    """
    figure = Figure(figsize=(6.5 * columns, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(1, columns)
    for each in [axes] if columns == 1 else axes:
        each.set(**labels)
        each.grid(alpha=0.3)
    yield axes
    for each in [axes] if columns == 1 else axes:
        if each.get_legend_handles_labels()[0]:
            each.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
