"""The budget of a search: when its search trials end, and what is trained after them."""

from pydantic import Field

from searchd.search.stopping_criteria import Limits, Target
from searchd.spec.base import Spec
from searchd.spec.training import TrainingSpec


class TargetSpec(Spec):
    """The target of a search: a detector that reaches it ends the search."""

    ap: float = Field(gt=0, le=1)
    """Smallest COCO box AP, in [0, 1], that reaches the target, at any resolution of a trial."""
    macs: float | None = Field(default=None, gt=0)
    """Largest number of multiply-accumulates of one image, at the resolution of that AP. Null for
    no limit."""
    latency_ms: float | None = Field(default=None, gt=0)
    """Largest predicted latency of one batch on `score.device` in milliseconds, at the resolution
    of that AP. Null for no limit."""


class FinishBudgetSpec(Spec):
    """The finishing trainings: after the last search trial, chosen detectors are trained further,
    each under its own teacher. Search trials are short, so that they rank detectors and leave them
    undertrained."""

    epochs: int = Field(default=12, ge=1)
    """Number of passes over the train split of each finishing training."""
    detectors: int = Field(default=3, ge=1)
    """Largest number of detectors that are finished: the best score, the knee of the Pareto front
    of AP against MACs, then others of that front, spread over it."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Learning rate at the start; it decreases to zero along a cosine, without warm-up. It is meant
    for `trial.base_batch_size`. Null: that of `trial`."""


class BudgetSpec(Spec):
    """The stopping criteria of a search. Once one of them holds, no further search trial starts;
    running trials end, the best detectors are finished, and controls follow."""

    max_trials: int = Field(default=100, ge=1)
    """Largest number of search trials, trial 0 included. Base, finishing trainings and controls are
    not counted."""
    patience: int = Field(default=20, ge=1)
    """Number of consecutive search trials without a better score after which the search counts as
    converged and ends."""
    max_worker_hours: float | None = Field(default=None, gt=0)
    """Largest number of hours that workers spend on base and search trials, summed over all workers
    and attempts. Null for no limit."""
    max_gpu_hours: float | None = Field(default=None, gt=0)
    """Largest number of GPU-hours: worker-hours times `resources.gpus_per_trial`. Null for no
    limit."""
    max_wall_hours: float | None = Field(default=None, gt=0)
    """Largest number of hours since the search first started, including pauses and waiting. Null
    for no limit."""
    target: TargetSpec | None = None
    """AP and MACs of a detector that ends the search. Null for no target."""
    finish: FinishBudgetSpec | None = FinishBudgetSpec()
    """Which detectors are trained further after the last search trial, and for how long. Null: the
    trials are the answer as they are."""


def finishing_training(trial: TrainingSpec, finish: FinishBudgetSpec) -> TrainingSpec:
    """Return how a detector is finished: as in a trial, but longer, with a learning rate that falls
    to zero along a cosine from its first step, and without the L1 penalty on gammas. That prepares
    pruning (Joint-DetNAS 3.3), and nothing is pruned any more."""
    return trial.model_copy(
        update={
            "epochs": finish.epochs,
            "learning_rate": finish.learning_rate or trial.learning_rate,
            "schedule": "cosine",
            "warmup_iterations": 0,
            "bn_l1": 0.0,
        }
    )


def limits_of(budget: BudgetSpec, gpus_per_trial: float) -> Limits:
    """The limits of a budget, for the stopping criteria."""
    target = budget.target
    return Limits(
        worker_hours=budget.max_worker_hours,
        gpu_hours=budget.max_gpu_hours,
        gpus_per_trial=gpus_per_trial,
        wall_hours=budget.max_wall_hours,
        target=None if target is None else _target(target),
    )


def _target(target: TargetSpec) -> Target:
    latency_s = None if target.latency_ms is None else target.latency_ms / 1000
    return Target(ap=target.ap, macs=target.macs, latency_s=latency_s)
