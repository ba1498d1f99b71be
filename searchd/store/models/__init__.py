"""The tables. Statuses are changed only by `searchd.store.work.transition`."""

from searchd.store.models.events import EventRow
from searchd.store.models.measurements import (
    AdaptationCostRow,
    ArtifactRow,
    EpochMetricsRow,
    SubnetEvaluationRow,
)
from searchd.store.models.resources import (
    DatasetRow,
    DeviceRow,
    DistillationRow,
    ExportRow,
    PoolRow,
    RunRow,
    SearchRow,
    TeacherRow,
)
from searchd.store.models.split_evaluations import FinalSplit, SplitEvaluationRow
from searchd.store.models.tokens import Role, TokenRow
from searchd.store.models.trials import EvaluationRow, TrialRow
from searchd.store.models.work import Desired, DesiredBy, WorkRow

__all__ = [
    "AdaptationCostRow",
    "ArtifactRow",
    "DatasetRow",
    "Desired",
    "DesiredBy",
    "DeviceRow",
    "DistillationRow",
    "EpochMetricsRow",
    "EvaluationRow",
    "EventRow",
    "ExportRow",
    "FinalSplit",
    "PoolRow",
    "Role",
    "RunRow",
    "SearchRow",
    "SplitEvaluationRow",
    "SubnetEvaluationRow",
    "TeacherRow",
    "TokenRow",
    "TrialRow",
    "WorkRow",
]
