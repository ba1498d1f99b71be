"""Analyses from the command line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from detection.measurement.complexity import count_backbone
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.distillation_methods import MethodName
from searchd.domain.method_set import MethodSet, WeightedMethod
from searchd.domain.resolution import Resolution
from searchd.domain.trial import FinalSplit, Train
from searchd.store import Database
from tests.cli.conftest import Run
from tests.searchd.store.distillation_factory import measure_sweep, run_sweep
from tests.searchd.store.factories import (
    add_dataset,
    add_distillation,
    add_pool,
    base_proposal,
    control_proposal,
    finish_proposal,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
)

pytestmark = pytest.mark.timeout(60)  # real detectors are trained


@pytest.fixture
def searched(database: Database) -> None:
    """A search whose base scored 50 %, and four trials that ended as 0, 2, 1, 3; one control."""
    _, lease = start_search(database)
    deeper = replace(
        succeeded("1", ap=0.625, macs=1e9),
        detector=Detector(architecture=preset("resnet34"), num_classes=4),
    )
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.5, macs=4e9))
    trained = replace(search_proposal(0), change=Train())
    run_trial(database, lease, trained, succeeded("0", ap=0.5625, macs=4e9))
    run_trial(database, lease, search_proposal(2, "0"), succeeded("2", ap=0.5, macs=4e9))
    run_trial(database, lease, search_proposal(1, "0"), deeper)
    run_trial(database, lease, search_proposal(3, "1"), succeeded("3", ap=0.75, macs=8e9))
    run_trial(database, lease, control_proposal(1), succeeded("control-1", ap=0.875, macs=4e9))


def test_an_analysis_compares_trials_with_and_without_each_searched_method(
    searchd: Run, database: Database
) -> None:
    _, lease = start_search(database, distillation="search")
    cwd, pkd = (WeightedMethod(name=name, weight=1.0) for name in (MethodName.CWD, MethodName.PKD))
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.5))
    for number, methods, ap in ((0, (cwd,), 0.5625), (1, (pkd,), 0.4375), (2, (cwd, pkd), 0.5)):
        proposal = search_proposal(number, methods=MethodSet(methods=methods))
        run_trial(database, lease, proposal, succeeded(str(number), ap=ap))

    found = json.loads(searchd("analyse", "search", "first", "--format", "json").stdout)

    assert found["gains_by_method"] == {
        "cwd": {
            "trials": 2,
            "mean_gain": 0.03125,
            "others": 1,
            "mean_gain_of_others": -0.0625,
        },
        "pkd": {
            "trials": 2,
            "mean_gain": -0.03125,
            "others": 1,
            "mean_gain_of_others": 0.0625,
        },
    }
    table = searchd("analyse", "search", "first").stdout
    assert "cwd     2       3.12       1               -6.25" in table


@pytest.mark.usefixtures("searched")
def test_a_search_is_analysed_from_its_recorded_trials(searchd: Run) -> None:
    result = searchd("analyse", "search", "first", "--format", "json")
    found = json.loads(result.stdout)
    assert [(t["trial"], t["generation"], t["action"], t["gain"]) for t in found["trials"]] == [
        ("base", 0, "train", None),
        ("0", 1, "train", 0.0625),
        ("2", 1, "mutate_teacher", -0.0625),
        ("1", 2, "prune_layer", 0.0625),
        ("3", 3, "prune_layer", 0.125),
    ]
    assert [g["score"] for g in found["generations"]] == [0.5, 0.5625, 0.625, 0.75]
    assert found["gains_by_action"]["prune_layer"] == {
        "trials": 2,
        "successes": 2,
        "sum_of_gains": 0.1875,
        "success_rate": 1.0,
    }
    assert found["gains_by_generation"]["1"]["success_rate"] == 0.5
    assert [(p["trial"], p["resolution"], p["macs"], p["ap"]) for p in found["front"]] == [
        ("1", "64x64", 5e8, 0.3125),
        ("1", "96x96", 1e9, 0.625),
        ("3", "96x96", 8e9, 0.75),
    ]
    volumes = [t["hypervolume"] for t in found["trials"]]
    assert volumes[0] == (2 * 0.25 + 4 * 0.5) / 8
    assert volumes == sorted(volumes)


def test_a_finished_best_is_on_the_front_and_is_no_search_trial(
    searchd: Run, database: Database
) -> None:
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.5, macs=4e9))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.5625, macs=4e9))
    run_trial(database, lease, finish_proposal(1, "0"), succeeded("finish-1", ap=0.75, macs=4e9))

    found = json.loads(searchd("analyse", "search", "first", "--format", "json").stdout)

    assert [t["trial"] for t in found["trials"]] == ["base", "0"]
    assert [g["score"] for g in found["generations"]] == [0.5, 0.5625]
    assert {p["trial"] for p in found["front"]} == {"finish-1"}
    assert found["stage_macs"]["after"]["trial"] == "finish-1"


@pytest.mark.usefixtures("searched")
def test_backbones_are_counted_before_and_after_with_their_teachers(searchd: Run) -> None:
    found = json.loads(searchd("analyse", "search", "first", "--format", "json").stdout)
    base = count_backbone(preset("resnet18"), Resolution(1333, 800))
    assert found["stage_macs"]["before"]["trial"] == "base"
    assert found["stage_macs"]["after"]["trial"] == "3"
    assert found["stage_macs"]["before"]["stages"] == list(base.stage_macs)
    sizes = [(t["student_backbone_params"], t["teacher_backbone_params"]) for t in found["trials"]]
    r18, r34 = 11_176_512, 21_284_672
    assert [student for student, _ in sizes] == [r18, r18, r18, r34, r18]
    assert sizes[0][1] is None
    # The smallest subnet has 2-2-2-2 bottlenecks: ResNet-26 without its classifier.
    assert {teacher for _, teacher in sizes[1:]} == {13_946_176}


@pytest.mark.usefixtures("searched")
def test_a_searchs_figures_are_drawn(searchd: Run, tmp_path: Path) -> None:
    result = searchd("analyse", "search", "first", "--plot", tmp_path / "figures")
    assert "prune_layer" in result.stdout
    drawn = sorted((tmp_path / "figures").iterdir())
    assert [file.name for file in drawn] == [
        "front.png",
        "gains.png",
        "latency.png",
        "scores.png",
        "stage_macs.png",
        "teachers.png",
    ]
    for file in drawn:
        with Image.open(file) as image:
            assert min(image.size) > 400


def test_the_best_is_one_of_the_searchs_own_if_there_is_any(
    searchd: Run, database: Database
) -> None:
    """Even where the base scored more, as the service has it."""
    _, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.75))
    alone = json.loads(searchd("analyse", "search", "first", "--format", "json").stdout)
    assert alone["stage_macs"]["after"] == alone["stage_macs"]["before"]
    assert alone["gains_by_action"] == {}
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.5))
    found = json.loads(searchd("analyse", "search", "first", "--format", "json").stdout)
    assert found["stage_macs"]["after"]["trial"] == "0"
    assert [each["generation"] for each in found["generations"]] == [0]


def test_a_search_without_scored_trials_cannot_be_analysed(
    searchd: Run, database: Database
) -> None:
    start_search(database)
    result = searchd("analyse", "search", "first")
    assert result.exit_code == 1
    assert "search first has no scored trial yet" in result.stderr


def test_a_sweep_is_compared_and_drawn(searchd: Run, database: Database, tmp_path: Path) -> None:
    add_dataset(database)
    add_pool(database)
    _, lease = run_sweep(database)
    measure_sweep(database, lease, FinalSplit.VALIDATION)
    plot = tmp_path / "sweep.png"

    result = searchd("analyse", "sweep", "mtpd", "--plot", plot, "--format", "csv")

    header, submitted, best, waiting, alone = result.stdout.splitlines()
    assert header == (
        "TRIAL.LEARNING_RATE,TRIAL,VALIDATION AP %,TEST AP %,AGAINST SUBMITTED,"
        "AP WITH 95 % INTERVAL"
    )
    assert submitted.startswith("0.01 (as submitted),")
    assert best.startswith("0.02 (best on validation),")
    assert (waiting, alone.partition(",")[0]) == ("0.04,,,,,", "baseline no_teacher")
    with Image.open(plot) as drawn:
        assert drawn.size == (845, 585)
    as_json = json.loads(searchd("analyse", "sweep", "mtpd", "--format", "json").stdout)
    assert (as_json["field"], as_json["best"]) == ("trial.learning_rate", 0.02)


def test_what_sweeps_nothing_has_no_values_to_compare(searchd: Run, database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    add_distillation(database)

    result = searchd("analyse", "sweep", "mtpd")

    assert result.exit_code == 1
    assert "distillation mtpd has no values to compare: it sweeps nothing" in result.stderr
