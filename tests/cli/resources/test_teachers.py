"""Teachers from the command line."""

import json
from pathlib import Path

from searchd.domain.lifecycle import TeacherStatus
from searchd.spec import MmdetStartSpec
from searchd.store import Database, paging
from searchd.store.models import TeacherRow
from searchd.store.resources import teachers
from searchd.store.work import queue
from tests.cli.conftest import Run
from tests.searchd.store.factories import (
    add_dataset,
    leased,
    teacher_progress,
    teacher_report,
    teacher_spec,
    trained_teacher,
)

SPEC = """
name: swin
dataset: shapes
mmdet:
  config: retinanet_swin-t-p4-w7_fpn_1x_coco
  checkpoint: /data/swin.pt
resolution: 96x96
"""


def _register(database: Database) -> str:
    add_dataset(database)
    with database.write() as session:
        return teachers.create(session, teacher_spec()).id


def _evaluate(database: Database, teacher_id: str) -> None:
    with leased(database, f"teacher-{teacher_id}") as (session, lease):
        teachers.record_report(session, lease, teacher_report())


def test_a_teacher_is_registered_from_a_file(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    file = tmp_path / "swin.yaml"
    file.write_text(SPEC)
    result = searchd("teacher", "add", file, "--name", "other", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["status"] == "checking"
    with database.read() as session:
        assert teachers.get(session, "other").spec == teacher_spec("other")


def test_teachers_are_listed_with_ap_macs_and_levels(searchd: Run, database: Database) -> None:
    _evaluate(database, _register(database))
    header, row = searchd("teacher", "list").stdout.splitlines()
    assert header.split() == [
        *("NAME", "ID", "STATUS", "SOURCE", "AP", "%", "RESOLUTION", "GMACS", "LEVELS"),
    ]
    assert row.split()[0] == "swin"
    assert " ".join(row.split()[3:]) == (
        "mmdet retinanet_swin-t-p4-w7_fpn_1x_coco 50.0 96x96 2 8 x 256, 16 x 256"
    )


def test_a_teacher_that_was_not_evaluated_is_listed_without(
    searchd: Run, database: Database
) -> None:
    _register(database)
    row = searchd("teacher", "list", "--status", "checking").stdout.splitlines()[1]
    assert row.split()[-4:] == ["-", "96x96", "-", "-"]


def test_a_teacher_is_shown_with_everything_measured(searchd: Run, database: Database) -> None:
    _evaluate(database, _register(database))
    lines = searchd("teacher", "show", "swin").stdout.splitlines()
    shown = {line[:10].strip(): line[10:].strip() for line in lines}
    assert shown["kind"] == "retinanet_swin-t-p4-w7_fpn_1x_coco"
    assert (shown["AP"], shown["AP75"], shown["AP small"]) == ("50.0 %", "55.0 %", "-")
    assert (shown["AP70"], shown["AR100"], shown["AR small"]) == ("58.0 %", "61.0 %", "-")
    assert shown["mask AP"] == "35.0 %"
    assert (shown["MACs"], shown["parameters"]) == ("2 G", "38.47 M")
    assert (shown["latency"], shown["levels"]) == ("20.0 ms", "8 x 256, 16 x 256")


def test_watching_shows_whether_it_is_ready(searchd: Run, database: Database) -> None:
    teacher_id = _register(database)
    with leased(database, f"teacher-{teacher_id}") as (session, lease):
        queue.finish(session, lease, TeacherStatus.FAILED, "CheckpointError: no such file")
    result = searchd("teacher", "watch", "swin")
    assert result.exit_code == 1
    assert "teacher swin is failed: CheckpointError: no such file" in result.stderr


def test_a_training_is_described_by_options_alone(searchd: Run, database: Database) -> None:
    add_dataset(database)
    result = searchd(
        *("teacher", "train", "--name", "strong", "--dataset", "shapes"),
        *("--config", "faster-rcnn_r101_fpn_1x_coco", "--checkpoint", "/data/r101.pth"),
        *("--epochs", "6", "--batch-size", "2", "--learning-rate", "0.002", "--gpus", "1"),
        *("--resolution", "800x600", "--resolution", "1333x800"),
    )
    assert result.exit_code == 0, result.stderr
    assert "queued" in result.stdout
    with database.read() as session:
        spec = teachers.get(session, "strong").spec
    assert spec.train is not None
    assert spec.train.mmdet == MmdetStartSpec(
        config="faster-rcnn_r101_fpn_1x_coco", checkpoint=Path("/data/r101.pth")
    )
    training = spec.train.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (6, 2, 0.002)
    assert [str(each) for each in training.resolutions] == ["800x600", "1333x800"]
    assert (str(spec.resolution), spec.gpus, spec.cpus) == ("1333x800", 1, 1)


def test_options_replace_what_a_file_says_of_a_training(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    file = tmp_path / "own.yaml"
    file.write_text(
        "name: own\ndataset: shapes\ntrain:\n  backbone: resnet50\n  training: {epochs: 30}\n"
    )
    automatic = ("--batch-size", "auto")
    result = searchd("teacher", "train", file, "--backbone", "resnet101", *automatic)
    assert result.exit_code == 0, result.stderr
    with database.read() as session:
        train = teachers.get(session, "own").spec.train
    assert train is not None
    assert (train.backbone, train.training.epochs) == ("resnet101", 30)
    assert train.training.batch_size == "auto"


def test_a_training_is_validated_without_being_submitted(searchd: Run, database: Database) -> None:
    add_dataset(database)
    options = ("--name", "strong", "--dataset", "shapes", "--backbone", "resnet50")

    result = searchd("teacher", "train", *options, "--validate-only")

    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert result.stderr.endswith("teacher strong would be accepted\n")
    with database.read() as session:
        assert paging.page(session, TeacherRow).items == []


def test_a_training_without_a_detector_is_refused_with_the_cure(searchd: Run) -> None:
    result = searchd("teacher", "train", "--name", "strong", "--dataset", "shapes")
    assert result.exit_code == 2
    assert "nothing says what to train: give --config, --backbone" in result.stderr
    both = searchd("teacher", "train", "--config", "a", "--backbone", "resnet50", "--name", "a")
    assert both.exit_code == 2
    assert "train: give exactly one of mmdet and backbone" in both.stderr
    assert "dataset: required field is missing" in both.stderr


def test_a_training_is_shown_with_its_epochs_and_losses(searchd: Run, database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        row = teachers.create(session, trained_teacher())
    with leased(database, f"teacher_training-{row.id}") as (session, lease):
        queue.advance(session, lease, TeacherStatus.TRAINING, "its driver has started")
        teachers.record_progress(session, lease, teacher_progress())
    shown = searchd("teacher", "show", "strong").stdout
    assert "train, epoch 2 of 3: loss 0.4" in shown
    assert "epoch 1" in shown
    assert "loss 0.5" in shown
    assert "mmdet faster-rcnn_r101_fpn_1x_coco, training of 3 epochs" in shown
    paused = searchd("teacher", "pause", "strong", "--format", "json")
    assert json.loads(paused.stdout)["desired"] == "pause"
    assert [each["epoch"] for each in json.loads(paused.stdout)["epochs"]] == [1]
