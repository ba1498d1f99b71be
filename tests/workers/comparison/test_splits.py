"""Measurements of a stored student on a split, as after a search."""

import pytest

from searchd.domain.errors import DataError
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Artifact
from searchd.messages.reports import Report
from searchd.messages.tasks import MeasuredDetector, SplitTask
from searchd.search.intervals import difference, interval
from searchd.spec import DatasetSpec
from workers.comparison.splits import measure_on_split

pytestmark = pytest.mark.timeout(60)  # trains the base once

SIZE = Resolution(64, 64)


def student(base: Report) -> Artifact:
    return next(file for file in base.artifacts if file.name == "student")


def task(dataset: DatasetSpec, base: Report, *trials: str) -> SplitTask:
    assert base.detector is not None
    detectors = tuple(
        MeasuredDetector(
            trial=trial, detector=base.detector, student=student(base), resolution=SIZE
        )
        for trial in trials
    )
    return SplitTask(split=dataset.validation, detectors=detectors)


def test_ap_is_that_of_the_trial_and_its_interval_contains_it(
    dataset: DatasetSpec, base: Report
) -> None:
    first, second = measure_on_split(task(dataset, base, "base", "again"))

    reported = next(each for each in base.evaluations if each.resolution == SIZE)
    assert first.ap == pytest.approx(reported.ap, abs=1e-6)
    assert (first.num_images, len(first.resampled)) == (6, 1000)
    around = interval(first.resampled)
    assert around is not None
    assert around.low <= first.ap <= around.high
    same = difference(first.resampled, second.resampled)
    assert same is not None
    assert (same.low, same.high) == (0.0, 0.0)


def test_a_split_that_changed_since_the_check_is_refused(
    dataset: DatasetSpec, base: Report
) -> None:
    changed = dataset.validation.model_copy(update={"sha256": "0" * 64})

    with pytest.raises(DataError, match="changed since"):
        measure_on_split(task(dataset, base, "base").model_copy(update={"split": changed}))
