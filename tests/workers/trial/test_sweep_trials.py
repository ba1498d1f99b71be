"""A sweep with real trials, which is measured and compared."""

import threading
from pathlib import Path

import pytest

from api.views.distillations import distillation
from searchd.driver import final_splits
from searchd.search.ask_tell import Finished
from searchd.settings import Settings
from searchd.spec import BaseSpec, DatasetSpec, DistillationSpec, ScoreSpec
from searchd.store import Database
from searchd.store.resources import distillations
from tests.workers.trial.runs import TRAINING, InThisProcess, Search
from tests.workers.trial.tasks import HEAD, SIZE, weights

pytestmark = pytest.mark.timeout(60)  # real detectors are trained


def test_values_of_a_sweep_are_trained_on_the_same_batches_and_measured(
    database: Database,
    dataset: DatasetSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = {"field": "distillation.methods.feature_matching.weight", "values": [50]}
    base = BaseSpec(backbone="resnet18", base_channels=8, training=TRAINING)
    spec = DistillationSpec.model_validate(
        {
            "name": "swept",
            "dataset": dataset.name,
            "pool": "teachers",
            "student": {"base": base, "head": HEAD},
            "num_sampled_teachers": 1,
            "order": ["largest"],
            "trial": TRAINING,
            "score": ScoreSpec(base_resolution=SIZE),
            "sweep": sweep,
        }
    )

    done = Search(database, tmp_path, spec)

    assert done.finished == Finished("progressive: 2 stages", succeeded=True)
    submitted, swept = (done.reports[name].checks.first_losses for name in ("0", "1"))
    assert submitted is not None
    assert swept is not None
    # The default weight is 5.
    assert swept["feature_matching"] == pytest.approx(10 * submitted["feature_matching"])
    others = submitted.keys() - {"feature_matching", "loss"}
    assert {name: swept[name] for name in others} == {name: submitted[name] for name in others}
    assert weights(done.reports["0"]).keys() == weights(done.reports["1"]).keys()

    monkeypatch.setattr(final_splits, "_measure", InThisProcess())
    monkeypatch.setattr(final_splits, "ray", InThisProcess())
    final_splits.measure_on_splits(done.ledger, Settings(data_folder=tmp_path), threading.Event())

    with database.read() as session:
        found = distillation(session, distillations.get(session, "swept")).sweep
    assert found is not None
    own, other = found.students
    assert (own.value, own.as_submitted, other.value) == (None, True, 50)
    for each in (own, other):
        assert each.validation is not None
        assert each.validation.ap == pytest.approx(each.ap)
        assert each.validation.num_images == 6
    assert other.difference is not None
    assert other.difference.ap == pytest.approx((other.ap or 0) - (own.ap or 0))
