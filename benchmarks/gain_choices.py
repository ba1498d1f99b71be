"""Which weights and options become defaults, by the registered rule. Imports no detector.

The rule: of a method's rows, the shipped default included, the best by validation AP of the
choosing seed becomes the default if it gains over no teacher on the test images of the other
seeds, and more than the shipped one does there.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.gain_settings import CHOOSING_SEED, SECTIONS, SEEDS
from searchd.domain.distillation_methods import MethodName

JUDGING_SEEDS = tuple(seed for seed in SEEDS if seed != CHOOSING_SEED)

Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the rule says of a method."""

    method: MethodName
    validation: Mapping[str, float]
    """AP on validation images of the choosing seed, in [0, 1], by row; the shipped one first."""
    missing: Sequence[str]
    """Rows that were not run with that seed."""
    best: str
    judged: Results | None
    """Gain of the best over no teacher on the other seeds; None if it is the shipped one, or was
    not run there."""
    over_shipped: float | None
    """Mean AP of the best less that of the shipped one on the test images of the other seeds."""

    @property
    def decision(self) -> str:
        """What follows, in words."""
        if self.missing:
            return "open: not all are run"
        if self.best == self.method:
            return "the default stays"
        if self.judged is None or self.over_shipped is None:
            return "open: the best is not run on the other seeds"
        gains = self.judged["low"] > 0 and self.over_shipped > 0
        return "becomes the default" if gains else "the default stays: the best does not gain"


def choices(found: Results) -> Iterator[Choice]:
    """Yield the choice of every method that has alternatives, where one of them was run."""
    rows = found["rows"]
    judged = {each["first"]: each for each in found.get("judged", ())}
    for method, names in _candidates().items():
        aps = {name: _validation(rows, name) for name in names}
        known = {name: ap for name, ap in aps.items() if ap is not None}
        if set(known) - {method.value}:
            best = max(known, key=lambda name: known[name])
            yield Choice(
                method=method,
                validation=known,
                missing=[name for name, ap in aps.items() if ap is None],
                best=best,
                judged=None if best == method else judged.get(best),
                over_shipped=_over(rows, best, method.value),
            )


def choice_lines(found: Results) -> Iterator[str]:
    """Yield the choices as a table; nothing if no alternative was run."""
    lines = [_line(choice) for choice in choices(found)]
    if not lines:
        return
    yield ""
    yield (
        f"Defaults change by one rule only. Of a method's rows, the shipped one included, the best "
        f"by AP on the validation images of seed {CHOOSING_SEED} becomes the default if it gains "
        "over no teacher on the test images of the other seeds (the interval excludes zero), and "
        "more than the shipped one does there."
    )
    yield ""
    yield (
        f"| method | AP on validation, seed {CHOOSING_SEED} | best | over none on the other seeds "
        "| over the shipped one there | |"
    )
    yield "|---|---|---|---|---|---|"
    yield from lines


def _line(choice: Choice) -> str:
    aps = ", ".join(
        f"{_short(name, choice.method)} {100 * ap:.1f}" for name, ap in choice.validation.items()
    )
    judged, over = "", ""
    if choice.judged is not None:
        mean = statistics.mean(choice.judged["by_seed"].values())
        low, high = 100 * choice.judged["low"], 100 * choice.judged["high"]
        judged = f"{100 * mean:+.1f} ({low:+.1f} .. {high:+.1f})"
        over = "" if choice.over_shipped is None else f"{100 * choice.over_shipped:+.1f}"
    best = _short(choice.best, choice.method)
    return f"| {choice.method} | {aps} | {best} | {judged} | {over} | {choice.decision} |"


def _short(name: str, method: MethodName) -> str:
    return "shipped" if name == method else name.removeprefix(f"{method}, ")


def _candidates() -> dict[MethodName, list[str]]:
    """Return the rows of each method that has alternatives, the shipped one first."""
    found: dict[MethodName, list[str]] = {}
    for row in SECTIONS["alternatives"][1]:
        (method,) = row.methods
        found.setdefault(method.name, [method.name.value]).append(row.name)
    return found


def _validation(rows: Results, name: str) -> float | None:
    result = rows.get(name, {}).get(str(CHOOSING_SEED))
    return None if result is None else float(result["validation"])


def _over(rows: Results, best: str, shipped: str) -> float | None:
    found = [
        rows[best][seed]["test"] - rows[shipped][seed]["test"]
        for seed in map(str, JUDGING_SEEDS)
        if seed in rows.get(best, {}) and seed in rows.get(shipped, {})
    ]
    return statistics.mean(found) if len(found) == len(JUDGING_SEEDS) else None
