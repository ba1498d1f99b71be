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
from searchd.domain.distillation_methods import JOINT_DETNAS

JUDGING_SEEDS = tuple(seed for seed in SEEDS if seed != CHOOSING_SEED)

Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the rule says of a default."""

    shipped: str
    """Row of the shipped default."""
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
        if self.best == self.shipped:
            return "the default stays"
        if self.judged is None or self.over_shipped is None:
            return "open: the best is not run on the other seeds"
        gains = self.judged["low"] > 0 and self.over_shipped > 0
        if not gains:
            return "the default stays: no better on the other seeds"
        return "gains; the three decide" if self.shipped in JOINT_DETNAS else "becomes the default"


def choices(found: Results) -> Iterator[Choice]:
    """Yield the choice of every default that has alternatives, where one of them was run."""
    rows = found["rows"]
    judged = {each["first"]: each for each in found.get("judged", ())}
    for shipped, names in _candidates().items():
        aps = {name: _validation(rows, name) for name in names}
        known = {name: ap for name, ap in aps.items() if ap is not None}
        if set(known) - {shipped}:
            best = max(known, key=lambda name: known[name])
            yield Choice(
                shipped=shipped,
                validation=known,
                missing=[name for name, ap in aps.items() if ap is None],
                best=best,
                judged=None if best == shipped else judged.get(best),
                over_shipped=_over(rows, best, shipped),
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
        "more than the shipped one does there. Joint-DetNAS's three are shipped together, so a "
        "default of one of them also needs that gain of the three. By this rule `classification` "
        "has the weight 3 ([decision 31](decisions/0031-the-weight-of-classification-is-measured.md"
        ")), which was a row beside the shipped 1 when it was chosen."
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
        f"{_short(name, choice.shipped)} {100 * ap:.1f}" for name, ap in choice.validation.items()
    )
    judged, over = "", ""
    if choice.judged is not None:
        mean = statistics.mean(choice.judged["by_seed"].values())
        low, high = 100 * choice.judged["low"], 100 * choice.judged["high"]
        judged = f"{100 * mean:+.1f} ({low:+.1f} .. {high:+.1f})"
        over = "" if choice.over_shipped is None else f"{100 * choice.over_shipped:+.1f}"
    best = _short(choice.best, choice.shipped)
    return f"| {choice.shipped} | {aps} | {best} | {judged} | {over} | {choice.decision} |"


def _short(name: str, shipped: str) -> str:
    return "shipped" if name == shipped else name.removeprefix(f"{shipped}, ")


def _candidates() -> dict[str, list[str]]:
    """Return the rows of each default that has alternatives, the shipped one first."""
    found: dict[str, list[str]] = {}
    for row in SECTIONS["alternatives"][1]:
        assert row.instead_of is not None  # it is an alternative
        found.setdefault(row.instead_of, [row.instead_of]).append(row.name)
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
