"""Teachers from the command line."""

import json
from pathlib import Path

from searchd.domain.lifecycle import TeacherStatus
from searchd.store import Database
from searchd.store.resources import teachers
from searchd.store.work import queue
from tests.cli.conftest import Run
from tests.searchd.store.factories import add_dataset, leased, teacher_report, teacher_spec

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
    assert (shown["MACs"], shown["parameters"]) == ("2 G", "38.47 M")
    assert (shown["latency"], shown["levels"]) == ("20.0 ms", "8 x 256, 16 x 256")


def test_watching_shows_whether_it_is_ready(searchd: Run, database: Database) -> None:
    teacher_id = _register(database)
    with leased(database, f"teacher-{teacher_id}") as (session, lease):
        queue.finish(session, lease, TeacherStatus.FAILED, "CheckpointError: no such file")
    result = searchd("teacher", "watch", "swin")
    assert result.exit_code == 1
    assert "teacher swin is failed: CheckpointError: no such file" in result.stderr
