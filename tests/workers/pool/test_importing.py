"""A pool that was trained, exported and imported teaches a trial as the original does."""

from pathlib import Path

import pytest
import torch

from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.exported_pool import write_pool_export
from detection.stored_weights import read_weights
from searchd.domain.lifecycle import FailureCause
from searchd.domain.trial import Artifact, Outcome
from searchd.messages.pool_export import WEIGHTS, imported_spec, read_description
from searchd.messages.reports import PoolProgress, PoolReport
from searchd.messages.tasks import PoolRef, PoolTrainingTask
from searchd.spec import DatasetSpec, PoolSpec, TrainingSpec
from tests.elastic_pool.tiny import (
    TINY_SPACE,
    largest_difference,
    make_images,
    make_pool_spec,
    raw_outputs,
)
from tests.exported_pools import write_tiny_export
from workers.pool.steps import train_pool_inline
from workers.teachers import build_teacher
from workers.trial.context import TrialContext

pytestmark = pytest.mark.timeout(120)  # real detectors are trained


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    return make_shapes(
        tmp_path_factory.mktemp("shapes"),
        num_train=8,
        num_validation=4,
        image_size=64,
        num_classes=3,
    )


def task_of(spec: PoolSpec, dataset: DatasetSpec, folder: Path) -> PoolTrainingTask:
    return PoolTrainingTask(
        pool="p-1", attempt=1, spec=spec, dataset=dataset, artifacts=str(folder / "attempt-1")
    )


def import_task(export: Path, dataset: DatasetSpec, folder: Path) -> PoolTrainingTask:
    spec = PoolSpec(name="imported", dataset="shapes", source=export)
    return task_of(imported_spec(spec, read_description(export)), dataset, folder)


def outputs_of_a_trials_teacher(
    report: PoolReport, spec: PoolSpec, dataset: DatasetSpec
) -> list[torch.Tensor]:
    """What the smallest subnet returns as the teacher of a trial: BN reset, then frozen."""
    pool = PoolRef(
        supernet=stored(report),
        space=spec.space,
        head=spec.head,
        bn_reset_images=spec.bn_reset_images,
    )
    context = TrialContext()
    split = context.split(dataset.train)
    teacher = build_teacher(
        context.supernet(pool, split.num_classes),
        TINY_SPACE.smallest,
        split,
        pool=pool,
        training=TrainingSpec(batch_size=4, resolutions=spec.space.resolutions),
        seed=7,
        device="cpu",
    )
    return raw_outputs(teacher, make_images())


def stored(report: PoolReport) -> Artifact:
    assert report.supernet is not None, report.reason
    return report.supernet


def test_teacher_of_an_imported_pool_gives_the_same_outputs(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    spec = make_pool_spec()
    phases = tuple(phase.model_copy(update={"epochs": 1}) for phase in spec.phases)
    spec = spec.model_copy(update={"phases": phases})
    trained = train_pool_inline(task_of(spec, dataset, tmp_path / "original"))
    write_pool_export(
        tmp_path / "export",
        read_weights(stored(trained)),
        spec,
        class_names=CocoSplit(dataset.train).class_names,
        subnets=(),
    )
    task = import_task(tmp_path / "export", dataset, tmp_path / "import")

    imported = train_pool_inline(task)

    assert (imported.outcome, imported.reason) == (Outcome.SUCCEEDED, "")
    assert (imported.epochs, imported.subnets[0].subnet) == ((), TINY_SPACE.largest)
    before = outputs_of_a_trials_teacher(trained, spec, dataset)
    after = outputs_of_a_trials_teacher(imported, task.spec, dataset)
    assert largest_difference(before, after) == 0.0
    assert float(before[0].abs().max()) > 0.0


def test_import_stops_on_request(dataset: DatasetSpec, tmp_path: Path) -> None:
    write_tiny_export(tmp_path / "export")
    seen: list[PoolProgress] = []

    def stop(progress: PoolProgress) -> bool:
        seen.append(progress)
        return False

    report = train_pool_inline(import_task(tmp_path / "export", dataset, tmp_path), stop)
    assert report.outcome is Outcome.STOPPED
    assert [(at.phase, at.iteration, at.num_iterations) for at in seen] == [("import", 0, 2)]


def test_other_classes_than_the_data_sets_are_refused(dataset: DatasetSpec, tmp_path: Path) -> None:
    write_tiny_export(tmp_path / "export", class_names=("square", "circle", "triangle"))
    report = train_pool_inline(import_task(tmp_path / "export", dataset, tmp_path))
    assert report.cause is FailureCause.BAD_CHECKPOINT
    assert "has the classes [square, circle, triangle], but the data set has [circle" in (
        report.reason
    )


def test_weights_that_changed_after_the_submission_are_refused(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    write_tiny_export(tmp_path / "export")
    task = import_task(tmp_path / "export", dataset, tmp_path)
    (tmp_path / "export" / WEIGHTS).write_bytes(b"other")
    report = train_pool_inline(task)
    assert report.cause is FailureCause.BAD_CHECKPOINT
    assert "has SHA-256" in report.reason


def test_spec_that_the_folder_did_not_complete_is_refused(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    write_tiny_export(tmp_path / "export")
    bare = PoolSpec(name="imported", dataset="shapes", source=tmp_path / "export")
    report = train_pool_inline(task_of(bare, dataset, tmp_path))
    assert report.cause is FailureCause.BAD_CHECKPOINT
    assert "the submitted spec has another space than" in report.reason
