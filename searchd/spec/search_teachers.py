"""The teachers of a search: a pool, registered teachers, or both."""

from typing import Self

from pydantic import Field, model_validator

from searchd.domain.trial import TeacherPolicy
from searchd.search.better_teachers import MARGIN
from searchd.search.strategies.pair_steps import PairSettings
from searchd.spec.base import Name, Spec
from searchd.spec.strategies import PipelineSpec, PoolSearchSpec, StrategySpec


class PoolExtensionSpec(Spec):
    """How long the pool of a search may be trained further if its teachers are too weak."""

    max_epochs: int = Field(ge=1)
    """Largest number of epochs by which the last phase of the pool is trained further. The teachers
    are compared again each time the phase has been trained once more."""
    margin: float = Field(default=MARGIN, ge=0, le=1)
    """Difference of AP, in [0, 1], by which the best measured teacher must exceed the base on the
    validation split."""


class TeachersSpec(Spec):
    """The teachers that a search draws from: subnets of a pool, registered teachers, or both."""

    pool: Name | None = None
    """Name of the pool whose subnets are teachers, as in `pool` of the search; give it once. Null
    if no teacher is a subnet."""
    registered: tuple[Name, ...] = ()
    """Names of registered teachers, each once."""
    registered_share: float = Field(default=0.5, gt=0, lt=1)
    """Probability, between 0 and 1, that a registered teacher is drawn where a trial gets a new
    teacher, each equally likely. Ignored without a pool."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.registered)) < len(self.registered):
            raise ValueError(f"registered names a teacher twice: {', '.join(self.registered)}")
        return self


def check_strategy(strategy: StrategySpec, pool: str | None, registered: tuple[str, ...]) -> None:
    """Check that a strategy can use the teachers of a search.

    Raises:
        ValueError: It cannot; the message says which teachers, or which policy, would fit.
    """
    if pool is None and not registered:
        raise ValueError(
            "no teachers: give pool, or teachers with a pool, registered teachers, or both"
        )
    if isinstance(strategy, PoolSearchSpec) and (pool is None or registered):
        raise ValueError(
            "strategy.kind=pool_search evaluates the subnets of a pool and has no teachers: give "
            "pool alone"
        )
    if not registered:
        return
    policy = strategy.teacher_policy if isinstance(strategy, PairSettings) else None
    if policy is TeacherPolicy.NEAREST:
        raise ValueError(
            "strategy.teacher_policy=nearest compares subnets of a pool: give pool alone, or use "
            "mutate or random with registered teachers"
        )
    has_one = pool is None and len(registered) == 1
    if (policy is TeacherPolicy.FIXED or isinstance(strategy, PipelineSpec)) and not has_one:
        what = "teacher_policy=fixed" if policy is not None else f"kind={strategy.kind}"
        raise ValueError(
            f"strategy.{what} has one teacher for all trials: give pool alone, or one registered "
            "teacher alone"
        )
