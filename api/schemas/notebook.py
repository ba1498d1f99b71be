"""What responses look like in a notebook: tables, and the Pareto front as a plot.

Only HTML and SVG, without scripts.
"""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    import pandas as pd

_MAX_ROWS = 50
_WIDTH, _HEIGHT, _MARGIN = 480, 300, 48
"""Size of the plot and of the space around its axes, in pixels."""


def frame(items: Sequence[BaseModel]) -> "pd.DataFrame":
    """Return items as a data frame of pandas, with a column such as `best.ap` for each field.

    Raises:
        ImportError: Pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_dataframe needs pandas: pip install pandas") from error
    return pd.json_normalize([item.model_dump() for item in items])


def table(items: Sequence[BaseModel]) -> str:
    """Return items as a table in HTML, with the fields that are plain values."""
    rows = [item.model_dump(mode="json") for item in items[:_MAX_ROWS]]
    plain = [
        name
        for name in (rows[0] if rows else ())
        if not any(isinstance(row[name], dict | list) for row in rows)
    ]
    head = "".join(f"<th>{escape(name)}</th>" for name in plain)
    lines = ("".join(f"<td>{_cell(row[name])}</td>" for name in plain) for row in rows)
    more = f"<p>and {len(items) - _MAX_ROWS} more</p>" if len(items) > _MAX_ROWS else ""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def facts(item: BaseModel) -> str:
    """Return the plain values of an item as a table in HTML, a row for each."""
    values = item.model_dump(mode="json")
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{_cell(value)}</td></tr>"
        for name, value in values.items()
        if not isinstance(value, dict | list)
    )
    return f"<table><tbody>{rows}</tbody></table>"


def scatter(points: Sequence[tuple[float, float, str]], *, x_label: str, y_label: str) -> str:
    """Return a plot as SVG: a line through points in their order, with a title for each.

    Args:
        points: x, y and title of each.
        x_label: What the horizontal axis shows, with its unit.
        y_label: What the vertical axis shows, with its unit.
    """
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    at = [
        (_scaled(x, xs, _MARGIN, _WIDTH - 16), _scaled(y, ys, _HEIGHT - _MARGIN, 16), title)
        for x, y, title in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in at)
    circles = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#2563eb"><title>{escape(title)}</title>'
        "</circle>"
        for x, y, title in at
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escape(y_label)} by {escape(x_label)}" font-family="sans-serif" '
        'font-size="12">'
        f'<polyline points="{line}" fill="none" stroke="#93c5fd" stroke-width="2"/>{circles}'
        f"{_axes(xs, ys, x_label, y_label)}</svg>"
    )


def _axes(xs: Sequence[float], ys: Sequence[float], x_label: str, y_label: str) -> str:
    bottom, right = _HEIGHT - _MARGIN + 12, _WIDTH - 16
    texts = [
        (_MARGIN, bottom + 16, "start", f"{min(xs, default=0):.4g}"),
        (right, bottom + 16, "end", f"{max(xs, default=0):.4g}"),
        ((_MARGIN + right) / 2, bottom + 30, "middle", x_label),
        (_MARGIN - 14, _HEIGHT - _MARGIN, "end", f"{min(ys, default=0):.3g}"),
        (_MARGIN - 14, 20, "end", f"{max(ys, default=0):.3g}"),
        (4, 12, "start", y_label),
    ]
    lines = f'<path d="M{_MARGIN - 10} 16V{bottom}H{right}" fill="none" stroke="currentColor"/>'
    return lines + "".join(
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="currentColor">{escape(text)}'
        "</text>"
        for x, y, anchor, text in texts
    )


def _scaled(value: float, values: Sequence[float], low: float, high: float) -> float:
    span = max(values) - min(values)
    return (low + high) / 2 if span == 0 else low + (value - min(values)) / span * (high - low)


def _cell(value: Any) -> str:
    return "" if value is None else escape(str(value))
