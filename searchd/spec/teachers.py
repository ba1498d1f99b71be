"""A registered teacher: it is evaluated once, and distillations refer to it by name."""

from typing import Self

from pydantic import Field, model_validator

from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.spec.base import Name, ResolutionText, Spec, TrialId
from searchd.spec.search import MmdetSpec


class PoolSubnetSpec(Spec):
    """One subnet of a pool."""

    pool: Name
    """Name of the trained pool that contains the subnet."""
    subnet: Subnet
    """Genes of the subnet: depths, widths and neck channels."""


class TeacherSpec(Spec):
    """A teacher: a subnet of a pool, the student of a finished trial, or a detector that mmdet
    trained. Give exactly one of `subnet`, `trial` and `mmdet`."""

    name: Name
    """Name of the teacher, by which distillations refer to it."""
    dataset: Name
    """Name of the data set on whose validation split the teacher is evaluated; its classes must be
    those of the teacher."""
    subnet: PoolSubnetSpec | None = None
    """Subnet of a trained pool that is the teacher."""
    trial: TrialId | None = None
    """Id of the finished trial whose student is the teacher."""
    mmdet: MmdetSpec | None = None
    """Config and checkpoint of the mmdet detector that is the teacher."""
    resolution: ResolutionText = Resolution(1333, 800)
    """Input resolution, "WxH" in pixels, at which the teacher is evaluated."""
    cpus: float = Field(default=1, gt=0)
    """Number of CPUs that Ray reserves for the evaluation."""
    gpus: float = Field(default=0, ge=0)
    """Number of GPUs that Ray reserves for the evaluation; with 0, it runs on CPUs."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [self.subnet, self.trial, self.mmdet].count(None) != 2:
            raise ValueError("give exactly one of subnet, trial and mmdet")
        return self
