"""What the training of the demo's teachers writes beside the pool."""

from dataclasses import replace

from benchmarks.demo_pool import log_lines, results
from searchd.messages.reports import EpochMetrics, PhaseEpoch
from tests.searchd.store.factories import pool_report


def test_log_has_data_epochs_time_and_the_ap_of_each_subnet() -> None:
    metrics = EpochMetrics(epoch=1, losses={"loss": 1.25}, learning_rate=0.1, duration_s=30.0)
    epochs = (PhaseEpoch(phase="supernet", metrics=metrics),) * 2
    report = replace(pool_report("p-1"), epochs=epochs)

    lines = list(log_lines(report))

    assert lines[0] == "2000 training images of shapes, seed 1000, difficulty 0.1"
    assert lines[1] == 'supernet epoch 1: 30 s, loss 1.25, {"loss": 1.25}'
    assert lines[3] == "60 s of training in all"
    assert "AP 50.0 on 256 validation images, 2000.0 MMACs" in lines[4]
    assert len(lines) == 4 + len(results(report))
