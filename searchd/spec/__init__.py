"""The specs that users submit, defined once and stored as JSON.

Used by the API, the CLI, the coordinator, the driver and the workers. Unknown fields are refused.
Imports pydantic, `searchd.domain` and `searchd.search`; never torch, Ray or the database.
"""

from searchd.spec.base import (
    NAME_PATTERN,
    Name,
    ResolutionText,
    Spec,
    TrialId,
)
from searchd.spec.codecs import ACTION, DETECTOR, PLAN, PROPOSAL, SUBNET
from searchd.spec.dataset import (
    MAX_EMPTY_SHARE,
    MAX_FAULT_SHARE,
    VALIDATION_SHARE,
    DataFormat,
    DatasetImport,
    DatasetSource,
    DatasetSpec,
    SplitSpec,
)
from searchd.spec.distillations import (
    DistillationSpec,
    StudentSpec,
    check_subnets,
    subnets_of,
)
from searchd.spec.finish import DistilSpec, FineTuneSpec, FinishSpec
from searchd.spec.pool import PAPER_PHASES, PoolSpec, ShrinkPhaseSpec, SpaceSpec
from searchd.spec.pretrained import PretrainedSpec
from searchd.spec.search import (
    BaseSpec,
    BudgetSpec,
    MmdetSpec,
    ScoreSpec,
    SearchSpec,
    TargetSpec,
    check_pool,
    traits_of,
)
from searchd.spec.strategies import (
    JointDetNasSpec,
    PipelineSpec,
    PoolSearchSpec,
    RandomSpec,
    StrategySpec,
)
from searchd.spec.teachers import PoolSubnetSpec, TeacherSpec
from searchd.spec.training import (
    HeadSpec,
    MethodSpec,
    MethodsSpec,
    ResourcesSpec,
    TrainingSpec,
)

__all__ = [
    "MAX_EMPTY_SHARE",
    "MAX_FAULT_SHARE",
    "VALIDATION_SHARE",
    "DataFormat",
    "DatasetImport",
    "DatasetSource",
    "check_subnets",
    "StudentSpec",
    "TrialId",
    "TeacherSpec",
    "PoolSubnetSpec",
    "ACTION",
    "BaseSpec",
    "BudgetSpec",
    "DETECTOR",
    "DatasetSpec",
    "DistilSpec",
    "DistillationSpec",
    "FineTuneSpec",
    "FinishSpec",
    "MethodsSpec",
    "HeadSpec",
    "JointDetNasSpec",
    "MethodSpec",
    "MmdetSpec",
    "NAME_PATTERN",
    "Name",
    "PAPER_PHASES",
    "PLAN",
    "PROPOSAL",
    "PipelineSpec",
    "PretrainedSpec",
    "PoolSearchSpec",
    "PoolSpec",
    "RandomSpec",
    "ResolutionText",
    "ResourcesSpec",
    "SUBNET",
    "ScoreSpec",
    "SearchSpec",
    "ShrinkPhaseSpec",
    "SpaceSpec",
    "Spec",
    "SplitSpec",
    "StrategySpec",
    "TargetSpec",
    "TrainingSpec",
    "check_pool",
    "subnets_of",
    "traits_of",
]
