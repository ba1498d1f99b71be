"""The tables. Statuses are changed only by `searchd.store.transition`."""

from searchd.store.models.events import EventRow
from searchd.store.models.records import ArtifactRow, EpochMetricsRow, SubnetEvaluationRow
from searchd.store.models.resources import DatasetRow, PoolRow, SearchRow
from searchd.store.models.tokens import Role, TokenRow
from searchd.store.models.trials import EvaluationRow, TrialRow
from searchd.store.models.work import Desired, WorkRow

__all__ = [
    "ArtifactRow",
    "DatasetRow",
    "Desired",
    "EpochMetricsRow",
    "EvaluationRow",
    "EventRow",
    "PoolRow",
    "Role",
    "SearchRow",
    "SubnetEvaluationRow",
    "TokenRow",
    "TrialRow",
    "WorkRow",
]
