"""The tables. Statuses are changed only by `searchd.store.work.transition`."""

from searchd.domain.lifecycle import Desired, DesiredBy
from searchd.domain.trial import FinalSplit
from searchd.store.models.breakdowns import BreakdownRow
from searchd.store.models.counters import CounterRow
from searchd.store.models.events import EventRow
from searchd.store.models.fronts import FrontPointRow
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
from searchd.store.models.sinks import SinkRow
from searchd.store.models.split_evaluations import SplitEvaluationRow
from searchd.store.models.tokens import Role, TokenRow
from searchd.store.models.trials import EvaluationRow, TrialRow
from searchd.store.models.webhooks import DeliveryRow, WebhookRow
from searchd.store.models.work import WorkRow

__all__ = [
    "AdaptationCostRow",
    "ArtifactRow",
    "BreakdownRow",
    "CounterRow",
    "DatasetRow",
    "DeliveryRow",
    "Desired",
    "DesiredBy",
    "DeviceRow",
    "DistillationRow",
    "EpochMetricsRow",
    "EvaluationRow",
    "EventRow",
    "ExportRow",
    "FinalSplit",
    "FrontPointRow",
    "PoolRow",
    "Role",
    "RunRow",
    "SearchRow",
    "SinkRow",
    "SplitEvaluationRow",
    "SubnetEvaluationRow",
    "TeacherRow",
    "TokenRow",
    "TrialRow",
    "WebhookRow",
    "WorkRow",
]
