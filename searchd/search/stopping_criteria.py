"""Stopping criteria that do not depend on the strategy: budgets of hours, and a target. Pure."""

from dataclasses import dataclass
from math import inf

from searchd.domain.accuracy import ApKind
from searchd.domain.trial import TrialRole
from searchd.search.completions import Completions
from searchd.search.history import OperatingPoint

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A detector that is good enough to stop the search."""

    ap: float
    """Smallest COCO AP, in [0, 1], of those that the search ranks by."""
    macs: float | None = None
    """Largest multiply-accumulates of one image at the resolution of that AP. None: no limit."""
    latency_s: float | None = None
    """Largest predicted seconds at the resolution of that AP, in a search that counts latency.
    None: no limit."""

    def is_reached(self, point: OperatingPoint) -> bool:
        """Return whether a detector reaches the target at one resolution."""
        limits = ((self.macs, point.macs), (self.latency_s, point.cost))
        return point.accuracy >= self.ap and all(
            limit is None or value <= limit for limit, value in limits
        )

    def describe(self, point: OperatingPoint) -> str:
        """Describe what a detector has at one resolution."""
        cost = f"{point.macs / 1e9:.3g} GMACs"
        if self.latency_s is not None:
            cost = f"{1000 * point.cost:.3g} ms"
        name = ApKind.BOX_AP.words if point.ranked is None else ApKind.MASK_AP.words
        return f"{name} {point.accuracy:.1%} with {cost} at {point.resolution}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The criteria after which no further search trial starts.

    Trials in flight then run to their end. Only trials that have ended count, so the hours can be
    exceeded by those in flight.
    """

    worker_hours: float | None = None
    """Hours that workers may spend on trials, including the base and excluding finishing trainings
    and controls. None: no limit."""
    gpu_hours: float | None = None
    """GPU-hours that workers may spend on trials: worker-hours times `gpus_per_trial`. None: no
    limit."""
    gpus_per_trial: float = 0.0
    """GPUs that each worker holds; may be a fraction."""
    wall_hours: float | None = None
    """Wall-clock hours since the first start of the search, including time in which it was paused
    or waited. None: no limit."""
    target: Target | None = None
    """The detector that stops the search when a search trial reaches it. None: no target."""

    def reached(self, completions: Completions, accepted: Completions | None = None) -> str | None:
        """Return the criterion that is met, as text, or None.

        Args:
            completions: All completions of the search, whose hours count.
            accepted: Completions that may reach the target. None: all completions.
        """
        worker_h = completions.counted_s / _HOUR_S
        spent = (
            ("worker-hours", worker_h, self.worker_hours),
            ("GPU-hours", worker_h * self.gpus_per_trial, self.gpu_hours),
            ("hours of wall clock", completions.elapsed_s / _HOUR_S, self.wall_hours),
        )
        for unit, used, allowed in spent:
            if allowed is not None and used >= allowed:
                return f"budget: {used:.3g} of {allowed:g} {unit} are spent"
        found = completions if accepted is None else accepted
        return None if self.target is None else _reached_target(self.target, found)


def _reached_target(target: Target, completions: Completions) -> str | None:
    """Describe the first search trial whose student reaches the target. None: there is none."""
    best = completions.front.best_within(_limit(target, completions))
    if best is None or best.point.accuracy < target.ap:
        return None
    # Looked for once the target is reached, which ends the search.
    for completion in completions:
        if completion.proposal.role is not TrialRole.SEARCH:
            continue  # a base or a control that reaches the target does not stop the search
        for point in completion.points:
            if target.is_reached(point):
                return f"target: trial {completion.proposal.name} has {target.describe(point)}"
    return None


def _limit(target: Target, completions: Completions) -> float:
    """Return the largest cost of a detector that may reach the target; infinite if it limits
    something that the search does not count."""
    counted = {found.point.counted is not None for found in completions.front.points[:1]}
    limit = target.latency_s if True in counted else target.macs
    return inf if limit is None else limit
