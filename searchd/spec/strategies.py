"""The strategies of a search as users submit them.

Options, defaults, bounds and help texts are declared once, in the settings of each strategy
(`searchd.search.strategies`). A spec is those settings, checked by pydantic, with the strategy's
name.
"""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from searchd.search.strategies.joint_detnas import JointDetNasSettings
from searchd.search.strategies.pair_steps import PairSettings
from searchd.search.strategies.pipeline import PipelineSettings
from searchd.search.strategies.pool_search import PoolSearchSettings

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class JointDetNasSpec(JointDetNasSettings):
    """Hill climbing over (student, teacher) pairs, Joint-DetNAS Algorithm 1."""

    kind: Literal["joint_detnas"] = "joint_detnas"
    """Selects the strategy joint_detnas."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class RandomSpec(PairSettings):
    """Random search with the actions of joint_detnas: the parent is drawn uniformly from all trials
    that succeeded. It ends with `budget.max_trials`; `patience` is ignored."""

    kind: Literal["random"] = "random"
    """Selects random search as the strategy."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class PoolSearchSpec(PoolSearchSettings):
    """Hill climbing over the subnets of the pool, which are evaluated without training
    (Joint-DetNAS F, docs/papers.md 1.7). The base is trained as the reference of the score; the
    subnets have the `head` of the pool."""

    kind: Literal["pool_search"] = "pool_search"
    """Selects the search over the pool's subnets as the strategy."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class PipelineSpec(PipelineSettings):
    """Prune, then distil: the channels of the base are pruned to a number of MACs in one step, and
    the student is distilled from the largest subnet of the pool (Joint-DetNAS Table 5,
    docs/papers.md 1.10). Give exactly one of `macs_fraction`, `macs` and `latency_ms`."""

    kind: Literal["pipeline"] = "pipeline"
    """Selects the strategy that prunes once and then distils."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [self.macs_fraction, self.macs, self.latency_ms].count(None) != 2:
            raise ValueError(
                "give exactly one of macs_fraction, macs and latency_ms (macs_fraction: null)"
            )
        return self


def _with_kind(value: object) -> object:
    return {"kind": "joint_detnas", **value} if isinstance(value, dict) else value


StrategySpec = Annotated[
    Annotated[
        JointDetNasSpec | RandomSpec | PoolSearchSpec | PipelineSpec,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_with_kind),
]
"""The strategy of a search; joint_detnas if `kind` is not given."""
