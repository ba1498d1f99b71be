"""The rungs of a search as users submit them."""

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from searchd.search.rungs import Rungs
from searchd.spec.strategies import JointDetNasSpec, StrategySpec


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class RungsSpec(Rungs):
    """Rungs at which trials are stopped early (ASHA, docs/papers.md 8): with `first` 1 and
    `factor` 3 after 1, 3, 9, ... epochs, where about one trial in three is trained on."""


def check_rungs(rungs: RungsSpec, strategy: StrategySpec, num_epochs: int) -> None:
    """Check that trials can be stopped at the rungs.

    Args:
        rungs: The rungs.
        strategy: The strategy of the search.
        num_epochs: Epochs of its trials.

    Raises:
        ValueError: The strategy does not continue from the best, or no rung comes before the last
            epoch.
    """
    if not isinstance(strategy, JointDetNasSpec):
        raise ValueError(
            f"rungs: a {strategy.kind} does not continue from the best students, so that none is "
            "stopped for others; leave them out, or use joint_detnas"
        )
    if not rungs.epochs(num_epochs):
        raise ValueError(
            f"rungs.first={rungs.first} is not before the last of trial.epochs={num_epochs}; give "
            "fewer, or longer trials"
        )
