"""A teacher that is registered: evaluated once, then named by distillations."""

from typing import Self

from pydantic import Field, model_validator

from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.spec.base import Name, ResolutionText, Spec, TrialId
from searchd.spec.search import MmdetSpec


class PoolSubnetSpec(Spec):
    """One subnet of a pool."""

    pool: Name
    subnet: Subnet


class TeacherSpec(Spec):
    """A teacher: a subnet of a pool, a finished trial's student, or a detector that mmdet
    trained."""

    name: Name
    dataset: Name
    """On whose validation split it is evaluated; it must know its classes."""
    subnet: PoolSubnetSpec | None = None
    trial: TrialId | None = None
    mmdet: MmdetSpec | None = None
    resolution: ResolutionText = Resolution(1333, 800)
    """At which it is evaluated."""
    cpus: float = Field(default=1, gt=0)
    gpus: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [self.subnet, self.trial, self.mmdet].count(None) != 2:
            raise ValueError("give exactly one of subnet, trial and mmdet")
        return self
