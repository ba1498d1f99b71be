"""A trial reports what its search counts as cost."""

from pathlib import Path

import pytest

from detection.measurement.workload import workload_of
from searchd.domain.latency_table import ANY_KIND, LatencyTable, Layer, MeasuredLayer
from searchd.domain.trial import Train
from searchd.messages.reports import Report
from searchd.messages.tasks import PoolRef
from searchd.spec import DatasetSpec, ScoreSpec
from tests.workers.trial.tasks import SIZE, child_task
from workers.trial.cost import counted_cost
from workers.trial.run import run_trial

pytestmark = pytest.mark.timeout(60)  # real detectors are trained
TABLE = LatencyTable(
    layers=(MeasuredLayer(layer=Layer(inputs=8, outputs=8, height=8, width=8), seconds=1e-4),),
    lines={ANY_KIND: (0.0, 1e-9, 1e-9)},
    factors={"layers": 1.0, "faster_rcnn": 0.002},
)


def test_a_trial_reports_the_latency_that_the_table_predicts(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    task = child_task(dataset, base, pool, tmp_path / "attempt-1", Train())
    score = {"cost": "latency", "device": "laptop", "base_resolution": str(SIZE)}
    task = task.model_copy(update={"score": ScoreSpec.model_validate(score), "table": TABLE})

    report = run_trial(task)

    assert report.detector is not None
    predicted = TABLE.seconds(workload_of(report.detector, SIZE))
    assert predicted > 0.002
    assert report.base_cost == report.scored_cost == predicted
    assert [each.cost for each in report.evaluations] == [predicted]
    assert report.base_macs is not None


def test_a_search_by_macs_counts_nothing_else(
    dataset: DatasetSpec, base: Report, pool: PoolRef, tmp_path: Path
) -> None:
    task = child_task(dataset, base, pool, tmp_path / "attempt-1", Train())
    assert base.detector is not None
    assert counted_cost(task, base.detector, SIZE) is None
    by_params = task.model_copy(update={"score": ScoreSpec.model_validate({"cost": "params"})})
    assert counted_cost(by_params, base.detector, SIZE) == base.params
