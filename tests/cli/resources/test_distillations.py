"""Distillations from the command line."""

import json
from pathlib import Path

import pytest

from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import FinalSplit, TrainSwept
from searchd.store import Database, paging
from searchd.store.models import DistillationRow
from searchd.store.work import queue
from tests.cli.conftest import Run
from tests.searchd.store.distillation_factory import (
    SWEPT,
    choose_order,
    measure_sweep,
    plan_sweep,
    run_base,
    run_control,
    run_stage,
    run_sweep,
    start_distillation,
)
from tests.searchd.store.factories import (
    add_dataset,
    add_distillation,
    add_pool,
    run_trial,
    search_proposal,
)

SPEC = """
name: d
dataset: shapes
pool: teachers
student: {base: {backbone: resnet18}}
num_sampled_teachers: 2
"""


@pytest.fixture
def ready(database: Database) -> Database:
    """With a data set "shapes" and a pool "teachers"."""
    add_dataset(database)
    add_pool(database)
    return database


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC)
    return file


def test_a_distillation_is_submitted_once_per_key(
    searchd: Run, ready: Database, spec: Path
) -> None:
    for _ in range(2):
        result = searchd("distillation", "submit", spec, "--seed", 7, "--key", "k")
        assert result.exit_code == 0, result.stderr
    with ready.read() as session:
        (row,) = paging.page(session, DistillationRow).items
    assert row.spec.seed == 7
    assert "waits for admission" in result.stdout


def test_validate_only_submits_nothing(searchd: Run, ready: Database, spec: Path) -> None:
    result = searchd("distillation", "submit", spec, "--validate-only")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "distillation d would be accepted\n"
    with ready.read() as session:
        assert paging.page(session, DistillationRow).items == []


def test_distillations_are_listed(searchd: Run, ready: Database) -> None:
    add_distillation(ready)
    (line,) = searchd("distillation", "list").stdout.splitlines()[1:]
    assert line.split()[0] == "mtpd"
    assert "base detector" in line
    assert searchd("distillation", "list", "--status", "failed").stdout.count("\n") == 1


def test_show_prints_the_order_with_reasons_the_stages_and_the_rank(
    searchd: Run, ready: Database
) -> None:
    row, lease = start_distillation(
        ready, study=True, baselines=["no_teacher"], trial={"resolutions": ["64x64", "96x96"]}
    )
    plan = choose_order(ready, lease, row)
    run_base(ready, lease, ap=0.25)
    run_stage(ready, lease, 0, "base", plan.teachers["smallest"], ap=0.375)
    run_stage(ready, lease, 1, "0", plan.teachers["largest"], ap=0.5)
    run_stage(ready, lease, 2, "base", plan.teachers["largest"], ap=0.625)
    run_control(ready, lease, 1, "base", ap=0.3)

    lines = searchd("distillation", "show", "mtpd").stdout.splitlines()

    shown = [line.split() for line in lines]
    assert ["rank", "2", "of", "3", "trained", "orders"] in shown
    teachers = lines.index("Teachers in order:")
    assert "25.0  0.25   closest to largest" in lines[teachers + 2]
    assert "50.0  0.125  the best teacher (AP 0.5)" in lines[teachers + 3]
    stages = lines.index("Stages, AP at 96x96:")
    assert shown[stages + 2] == [
        "smallest",
        "given",
        "student",
        f"{row.id}-0",
        "succeeded",
        "37.50",
    ]
    assert lines[stages + 3].startswith("smallest > largest")
    assert ["the", "order", "50.00"] in shown
    assert ["no_teacher", "-"] in shown
    orders = lines.index("Trained orders:")
    assert lines[orders + 2].split() == ["1", "largest", "62.50"]
    assert lines[orders + 3].split(maxsplit=4)[:4] == ["2", "smallest", ">", "largest"]
    assert lines[orders + 3].endswith("chosen")


def test_show_compares_the_values_of_a_sweep(searchd: Run, ready: Database) -> None:
    _, lease = run_sweep(ready)
    measure_sweep(ready, lease, FinalSplit.VALIDATION, FinalSplit.TEST)

    lines = searchd("distillation", "show", "mtpd").stdout.splitlines()

    stages = lines.index("Stages, AP at 96x96:")
    assert lines[stages + 4].startswith("largest (0.02)")
    start = lines.index("Sweep of trial.learning_rate:")
    submitted, best, waiting, alone = lines[start + 2 : start + 6]
    assert submitted.startswith("0.01 (as submitted)")
    assert best.startswith("0.02 (best on validation)")
    assert "50.0 [49.5, 50.5]  50.0 [49.5, 50.5]  +10.0 [+10.0, +10.0] better" in best
    assert best.endswith("o|")
    assert waiting.split() == ["0.04", "-", "-", "-", "-"]
    assert alone.startswith("baseline no_teacher")
    assert "worse" in alone
    # The lowest AP is at the left end of the scale, the highest at the right one.
    assert best.rindex("o") > submitted.rindex("o") > alone.rindex("o")


def test_a_value_of_a_sweep_is_not_the_end_of_the_order(searchd: Run, ready: Database) -> None:
    row, lease = start_distillation(ready, order=["largest"], sweep={"field": SWEPT, "values": [1]})
    plan = plan_sweep(ready, lease, row)
    run_base(ready, lease)
    change = TrainSwept(field=SWEPT, value=1.0)
    run_trial(ready, lease, search_proposal(0, change=change, teacher=plan.teachers["largest"]))

    result = searchd("distillation", "export", "mtpd")

    assert "distillation mtpd has not come to the end of its order" in result.stderr


def test_show_before_the_choice_lists_the_candidates(searchd: Run, ready: Database) -> None:
    add_distillation(ready)
    shown = searchd("distillation", "show", "mtpd").stdout
    assert "Candidate teachers:" in shown
    assert "subnet d2-2-2-2 w1/1/1/1 n256" in shown
    assert "Stages" not in shown
    as_json = json.loads(searchd("distillation", "show", "mtpd", "--format", "json").stdout)
    assert (as_json["name"], as_json["stages"]) == ("mtpd", [])


def test_trials_are_the_student_and_the_stages(searchd: Run, ready: Database) -> None:
    row, lease = start_distillation(ready)
    plan = choose_order(ready, lease, row)
    run_base(ready, lease, ap=0.25)
    run_stage(ready, lease, 0, "base", plan.teachers["smallest"], ap=0.5)
    _, base, stage = searchd("distillation", "trials", "mtpd").stdout.splitlines()
    assert base.split()[:4] == ["base", "-", "-", "succeeded"]
    assert stage.split()[:2] == ["0", f"{row.id}-base"]
    assert "d2-2-2-2 w1/1/1/1 n256" in stage
    failed = searchd("distillation", "trials", "mtpd", "--status", "failed", "--format", "json")
    assert json.loads(failed.stdout) == []


def test_watching_ends_with_the_distillation_and_fails_with_it(
    searchd: Run, ready: Database
) -> None:
    _, lease = start_distillation(ready, "good")
    with ready.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "all stages are trained")
    result = searchd("distillation", "watch", "good")
    assert (result.exit_code, "all stages are trained" in result.stdout) == (0, True)
    _, lease = start_distillation(ready, "bad", seed=1)
    with ready.write() as session:
        queue.finish(session, lease, SearchStatus.FAILED, "no teacher could be compared")
    result = searchd("distillation", "watch", "bad")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: distillation bad is failed: no teacher could be compared\n",
    )


def test_wishes_are_written_down(searchd: Run, ready: Database) -> None:
    row, _ = start_distillation(ready)
    for command, desired in (
        ("pause", "pause"),
        ("resume", "run"),
        ("cancel", "cancel"),
        ("kill", "kill"),
    ):
        assert searchd("distillation", command, "mtpd").exit_code == 0
        with ready.read() as session:
            assert queue.of_resource(session, row.id).desired == desired


def test_a_cancelled_one_resumes(searchd: Run, ready: Database) -> None:
    add_distillation(ready)
    searchd("distillation", "cancel", "mtpd")
    assert "queued" in searchd("distillation", "extend", "mtpd").stdout
