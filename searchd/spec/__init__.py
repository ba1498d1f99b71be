"""The specs that users submit, defined once and stored as JSON.

Used by the API, the CLI, the coordinator, the driver and the workers. Unknown fields are refused.
Imports pydantic, `searchd.domain` and `searchd.search`; never torch, Ray or the database.
"""

from searchd.spec.augmentation import (
    CropSpec,
    MinIouCropSpec,
    PhotometricDistortionSpec,
    RandomCropSpec,
)
from searchd.spec.base import (
    NAME_PATTERN,
    Name,
    ResolutionText,
    Spec,
    TrialId,
)
from searchd.spec.budget import (
    BudgetSpec,
    FinishBudgetSpec,
    TargetSpec,
    finishing_training,
    limits_of,
)
from searchd.spec.dataset import (
    MAX_EMPTY_SHARE,
    MAX_FAULT_SHARE,
    MAX_UNREADABLE_SHARE,
    SPLITS,
    VALIDATION_SHARE,
    DataFormat,
    DatasetImport,
    DatasetSource,
    DatasetSpec,
    FileList,
    SharedFiles,
    SplitSpec,
)
from searchd.spec.devices import DeviceSpec, TableSpec
from searchd.spec.distillation_teachers import check_registered, check_subnets, subnets_of
from searchd.spec.distillations import DistillationSpec, StudentSpec
from searchd.spec.exports import ExportSpec
from searchd.spec.finish import DistilSpec, FineTuneSpec, FinishSpec
from searchd.spec.method_search import MethodSearchSpec, SearchMethodsSpec
from searchd.spec.pool import (
    PAPER_PHASES,
    PoolSpec,
    ShrinkPhaseSpec,
    SpaceSpec,
    check_start,
)
from searchd.spec.pretrained import PretrainedSpec
from searchd.spec.rungs import RungsSpec
from searchd.spec.score import ScoreSpec
from searchd.spec.search import (
    BaseSpec,
    ControlSpec,
    MmdetSpec,
    SearchSpec,
    check_pool,
    check_teacher,
    traits_of,
)
from searchd.spec.search_teachers import PoolExtensionSpec, TeachersSpec
from searchd.spec.strategies import (
    JointDetNasSpec,
    PipelineSpec,
    PoolSearchSpec,
    RandomSpec,
    StrategySpec,
)
from searchd.spec.sweep import SweepSpec
from searchd.spec.teachers import (
    MmdetStartSpec,
    PoolSubnetSpec,
    TeacherSpec,
    TeacherTrainingSpec,
)
from searchd.spec.training import (
    EmaSpec,
    HeadSpec,
    MethodSpec,
    MethodsSpec,
    ResourcesSpec,
    TrainingSpec,
)

__all__ = [
    "MAX_EMPTY_SHARE",
    "MAX_FAULT_SHARE",
    "MAX_UNREADABLE_SHARE",
    "SPLITS",
    "VALIDATION_SHARE",
    "DataFormat",
    "DatasetImport",
    "DatasetSource",
    "check_start",
    "check_registered",
    "check_subnets",
    "StudentSpec",
    "TrialId",
    "TeacherSpec",
    "TeacherTrainingSpec",
    "MmdetStartSpec",
    "PoolExtensionSpec",
    "PoolSubnetSpec",
    "BaseSpec",
    "BudgetSpec",
    "ControlSpec",
    "CropSpec",
    "DatasetSpec",
    "DeviceSpec",
    "DistilSpec",
    "DistillationSpec",
    "EmaSpec",
    "ExportSpec",
    "FineTuneSpec",
    "FileList",
    "SharedFiles",
    "FinishBudgetSpec",
    "FinishSpec",
    "MethodsSpec",
    "HeadSpec",
    "JointDetNasSpec",
    "MethodSearchSpec",
    "MethodSpec",
    "MinIouCropSpec",
    "MmdetSpec",
    "NAME_PATTERN",
    "Name",
    "PAPER_PHASES",
    "PhotometricDistortionSpec",
    "PipelineSpec",
    "PretrainedSpec",
    "PoolSearchSpec",
    "PoolSpec",
    "RandomCropSpec",
    "RandomSpec",
    "ResolutionText",
    "ResourcesSpec",
    "RungsSpec",
    "ScoreSpec",
    "SearchMethodsSpec",
    "SearchSpec",
    "ShrinkPhaseSpec",
    "SpaceSpec",
    "Spec",
    "SplitSpec",
    "StrategySpec",
    "SweepSpec",
    "TableSpec",
    "TargetSpec",
    "TrainingSpec",
    "check_pool",
    "check_teacher",
    "finishing_training",
    "limits_of",
    "TeachersSpec",
    "subnets_of",
    "traits_of",
]
