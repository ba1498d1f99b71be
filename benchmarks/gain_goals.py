"""The goals of the table of gains, registered before any run, and whether they hold. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from benchmarks.gain_settings import BEYOND, GDETKD, NONE, RETINANET
from searchd.domain.distillation_methods import MethodName

Status = Literal["holds", "does not hold", "not run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A goal that compares rows: it holds if every first one is better than its second one."""

    text: str
    pairs: tuple[tuple[str, str], ...]
    strictly: bool
    """Whether the interval must be above zero. Otherwise the mean must not be below zero."""


GOAL_METHODS = 12
"""Number of the methods that must gain."""
METHOD_ROWS: Mapping[MethodName, str] = {
    name: RETINANET + name if name is MethodName.PREDICTION_CONVERSION else name.value
    for name in MethodName
    if name not in BEYOND
}
"""The row of each of the papers' methods alone, with its shipped default."""
CONTRASTS: tuple[Contrast, ...] = (
    Contrast(
        text="class-aware localisation > plain localisation",
        pairs=(("class_aware_localisation", "localisation"),),
        strictly=True,
    ),
    Contrast(
        text="SGFI + CKD ≥ each alone", pairs=((GDETKD, "sgfi"), (GDETKD, "ckd")), strictly=False
    ),
    Contrast(
        text="progressive ≥ direct at a small gap (M)", pairs=(("S > M", "M > M"),), strictly=False
    ),
    Contrast(
        text="progressive ≥ direct at a medium gap (L)", pairs=(("S > L", "L > L"),), strictly=False
    ),
    Contrast(
        text="progressive ≥ direct at a large gap (XL)",
        pairs=(("S > XL", "XL > XL"),),
        strictly=False,
    ),
    Contrast(
        text="the chosen order ≥ its reverse",
        pairs=(("chosen order of two", "reverse of the chosen order"),),
        strictly=False,
    ),
    Contrast(
        text="one after another ≥ simultaneous",
        pairs=(("S > L", "S + L, twice"), ("M > L", "M + L, twice")),
        strictly=False,
    ),
    Contrast(
        text="dynamic ≥ fixed teacher",
        pairs=(("dynamic teacher", "fixed teacher"),),
        strictly=False,
    ),
    Contrast(text="joint ≥ pipeline at equal MACs", pairs=(("joint", "pipeline"),), strictly=False),
    Contrast(
        text="hill climbing > random search at equal trials",
        pairs=(("joint, score", "random search, score"),),
        strictly=True,
    ),
)


class Compared(Protocol):
    """A paired difference of two rows; APs in [0, 1]."""

    @property
    def by_seed(self) -> Mapping[str, float]: ...
    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


Differences = Mapping[tuple[str, str], Compared]
"""Differences by the names of both rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal with what the rows say of it."""

    text: str
    status: Status
    figures: str


def goals(differences: Differences) -> Iterator[Goal]:
    """Yield every goal on one data set."""
    yield method_goal(differences)
    for contrast in CONTRASTS:
        yield contrast_goal(contrast, differences)


def method_goal(differences: Differences) -> Goal:
    """Return whether enough methods gain over no teacher, each alone with its shipped default."""
    rows = METHOD_ROWS.values()
    found = {row: differences.get((row, _none(row))) for row in rows}
    gaining = [row for row, each in found.items() if each is not None and each.low > 0]
    losing = [row for row, each in found.items() if each is not None and each.high < 0]
    missing = sum(each is None for each in found.values())
    status: Status = "not run"
    if len(gaining) >= GOAL_METHODS:
        status = "holds"
    elif len(gaining) + missing < GOAL_METHODS:
        status = "does not hold"
    return Goal(
        text=f"distillation > none for at least {GOAL_METHODS} of the {len(found)} methods",
        status=status,
        figures=(
            f"{len(gaining)} gain, {len(losing)} lose, "
            f"{len(found) - len(gaining) - len(losing) - missing} are unclear, {missing} were not "
            "run."
        ),
    )


def _none(row: str) -> str:
    return RETINANET + NONE if row.startswith(RETINANET) else NONE


def contrast_goal(contrast: Contrast, differences: Differences) -> Goal:
    """Return whether the first row of every pair is better than the second."""
    found = [differences.get(pair) for pair in contrast.pairs]
    figures = " ".join(
        _figures(pair, each)
        for pair, each in zip(contrast.pairs, found, strict=True)
        if each is not None
    )
    return Goal(text=contrast.text, status=_status(contrast, found), figures=figures)


def _status(contrast: Contrast, found: list[Compared | None]) -> Status:
    run = [each for each in found if each is not None]
    if any((each.low <= 0 if contrast.strictly else each.mean < 0) for each in run):
        return "does not hold"
    return "holds" if len(run) == len(found) else "not run"


def _figures(pair: tuple[str, str], found: Compared) -> str:
    return (
        f"`{pair[0]}` − `{pair[1]}`: {100 * found.mean:+.1f} "
        f"({100 * found.low:+.1f} .. {100 * found.high:+.1f}; {len(found.by_seed)} "
        f"{'seed' if len(found.by_seed) == 1 else 'seeds'})."
    )
