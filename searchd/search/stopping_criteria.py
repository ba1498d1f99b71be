"""Limits of a search besides its number of trials, read off what has completed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from searchd.domain.trial import TrialRole
from searchd.search.history import Completion

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A detector that is good enough."""

    ap: float
    """At least; COCO AP in [0, 1]."""
    macs: float | None = None
    """At most, of one image at the resolution of that AP; None: whatever they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to begin no further search trial. What is in flight then ends by itself: the hours are
    those of trials that have ended, and may be exceeded by those that had not."""

    worker_hours: float | None = None
    """That workers may have had trials, the base's included; controls are extra."""
    gpu_hours: float | None = None
    """The same, each worker's hours times the GPUs that it holds."""
    gpus_per_trial: float = 0.0
    wall_hours: float | None = None
    """Since the search was first started; time in which it was paused or waited counts."""
    target: Target | None = None

    def reached(
        self, completions: Sequence[Completion], accepted: Sequence[Completion] | None = None
    ) -> str | None:
        """Why no further search trial is to begin, or None if one may.

        Args:
            completions: Of every trial, which hours are of.
            accepted: Those that may reach the target; None: all.
        """
        counted = [c for c in completions if c.proposal.role is not TrialRole.CONTROL]
        worker_h = sum(completion.busy_s for completion in counted) / _HOUR_S
        wall_h = max((completion.elapsed_s for completion in completions), default=0.0) / _HOUR_S
        spent = (
            ("worker-hours", worker_h, self.worker_hours),
            ("GPU-hours", worker_h * self.gpus_per_trial, self.gpu_hours),
            ("hours of wall clock", wall_h, self.wall_hours),
        )
        for what, used, allowed in spent:
            if allowed is not None and used >= allowed:
                return f"budget: {used:.3g} of {allowed:g} {what} are spent"
        found = completions if accepted is None else accepted
        return None if self.target is None else _reaching(self.target, found)


def _reaching(target: Target, completions: Sequence[Completion]) -> str | None:
    """The first search trial whose student is good enough, in words."""
    most = float("inf") if target.macs is None else target.macs
    for completion in completions:
        if completion.proposal.role is not TrialRole.SEARCH:
            continue  # a base or a control that is good enough ends no search
        for point in completion.points:
            if point.ap >= target.ap and point.macs <= most:
                return (
                    f"target: trial {completion.proposal.name} has AP {point.ap:.1%} with "
                    f"{point.macs / 1e9:.3g} GMACs at {point.resolution}"
                )
    return None
