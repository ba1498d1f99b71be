"""Rows of the table of gains are trained once, and resume."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import fidelity, gain_bench, gain_runs, gain_search
from benchmarks.gain_bench import Workbench, lock, store
from benchmarks.gain_runs import Trainer
from benchmarks.gain_search import Search
from benchmarks.gain_settings import ROWS, Data, SearchSettings
from searchd.domain.detector import Family
from searchd.domain.distillation_plan import STUDENT_NAME
from searchd.domain.encoding import encode
from searchd.domain.resolution import Resolution

TINY = Data(resolution=Resolution(64, 64), num_classes=4, num_train=8, num_validation=2, num_test=2)
WEIGHT = "roi_head.bbox_head.fc_cls.weight"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """A few images, and trainings of one epoch."""
    monkeypatch.setattr(gain_bench, "DATA", {"tiny": TINY})
    monkeypatch.setattr(gain_bench, "STUDENT_EPOCHS", dict.fromkeys(Family, 1))
    monkeypatch.setattr(gain_bench, "TEACHER_EPOCHS", 1)
    monkeypatch.setattr(gain_runs, "LENGTHS", {"stage": (1, 0.02), "trial": (1, 0.01)})
    return Workbench("tiny", tmp_path)


def no_training(*_: Any, **__: Any) -> None:
    raise AssertionError("trained again")


def test_a_stored_row_is_not_trained_again(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Trainer(bench, 0).run(ROWS["S > M"])

    monkeypatch.setattr(gain_bench, "Training", no_training)
    monkeypatch.setattr(gain_runs, "Training", no_training)
    again = Trainer(bench, 0).run(ROWS["S > M"])

    assert first is not None
    assert again == json.loads(json.dumps(first))
    assert len(first["resampled"]) == 1000
    assert (bench.folder / "S, seed 0.json").exists()  # the stage before it is a row too


def test_a_second_stage_restarts_at_half_the_rate_or_with_the_momentum_of_the_first(
    bench: Workbench,
) -> None:
    def moved(name: str) -> float:
        Trainer(bench, 0).run(ROWS[name])
        weights = [
            torch.load(bench.folder / f"{each}, seed 0.pt", weights_only=True)["model"][WEIGHT]
            for each in (name, "none")
        ]
        return float((weights[0] - weights[1]).norm())

    plain = moved("none > none")
    assert moved("none > none, half rate") == pytest.approx(plain / 2, rel=1e-3)
    assert moved("none > none, momentum kept") > 1.2 * plain


def test_a_row_that_another_process_trains_is_left_to_it(bench: Workbench) -> None:
    with lock(bench.folder / "none, seed 0.lock", wait=False) as mine:
        assert mine
        assert Trainer(bench, 0).run(ROWS["none"]) is None


def test_a_lock_is_held_by_one_and_then_free(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with lock(path, wait=False) as mine, lock(path, wait=False) as other:
        assert (mine, other) == (True, False)
    with lock(path, wait=False) as later:
        assert later


def test_each_trial_has_the_teacher_of_its_policy(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gain_runs, "NUM_TRIALS", 2)
    monkeypatch.setattr(Workbench, "teacher", lambda *_: None)
    monkeypatch.setattr(Trainer, "train", lambda *_: ({}, {}))  # the choices need no training
    costs = {STUDENT_NAME: {"S": 0.3, "M": 0.1, "L": 0.2}}
    monkeypatch.setattr(Workbench, "costs_of", lambda *_: costs)

    fixed = Trainer(bench, 0).run(ROWS["fixed teacher"])
    nearest = Trainer(bench, 0).run(ROWS["nearest teacher"])

    assert fixed is not None
    assert [trial["teacher"] for trial in fixed["trials"]] == ["L", "L"]
    assert nearest is not None
    assert [trial["teacher"] for trial in nearest["trials"]] == ["M", "M"]


def test_the_row_of_the_chosen_order_is_that_of_its_teachers(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = {STUDENT_NAME: {"L": 0.5}, "S": {"L": 0.4}, "M": {"L": 0.2}}
    store(bench.folder / "costs, seed 0.json", costs)
    monkeypatch.setattr(Workbench, "teacher", lambda *_: None)
    for name, ap in (("S", 0.3), ("M", 0.4), ("L", 0.5)):
        store(bench.folder / f"teacher {name}.json", {"validation": ap})
    for name, ap in (("M > L", 0.6), ("L > M", 0.55)):
        store(bench.folder / f"{name}, seed 0.json", {"test": ap})
    for name in ("M", "feature_matching"):  # the orders' first stages
        store(bench.folder / f"{name}, seed 0.json", {})

    chosen = Trainer(bench, 0).run(ROWS["chosen order of two"])
    reverse = Trainer(bench, 0).run(ROWS["reverse of the chosen order"])

    assert chosen == {"test": 0.6, "order": "M > L"}
    assert reverse == {"test": 0.55, "order": "L > M"}


def test_the_pipeline_is_trained_as_long_as_the_search_found(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gain_search, "SEARCH", SearchSettings(num_trials=1))
    joint = Trainer(bench, 0).run(ROWS["joint"])
    pipeline = Trainer(bench, 0).run(ROWS["pipeline"])

    assert joint is not None
    assert pipeline is not None
    assert (joint["length"], pipeline["length"]) == (1, 1)
    assert (joint["macs"], pipeline["macs"]) == (1.0, 1.0)  # trial 0 edits nothing


def test_the_base_is_pruned_at_once_to_the_macs_of_the_search(bench: Workbench) -> None:
    search = Search(Trainer(bench, 0), ROWS["prune only"])
    _, found = search.pruned(0.95, length=1)
    assert found["macs"] == pytest.approx(0.95, rel=0.02)


def test_architectures_of_the_fidelity_are_drawn_from_their_number(bench: Workbench) -> None:
    base = gain_search.base_of(bench, 0)
    again = fidelity.draw(base, 3)[0].detector.architecture

    assert fidelity.draw(base, 0)[1] == ()
    assert fidelity.draw(base, 3)[0].detector.architecture == again
    assert len({fidelity.draw(base, number)[1] for number in range(5)}) > 1


def test_the_fidelity_leaves_out_architectures_that_were_drawn_before(bench: Workbench) -> None:
    base = gain_search.base_of(bench, 0)

    numbers = list(fidelity.different(base, 8))

    drawn = {encode(fidelity.draw(base, each)[0].detector.architecture) for each in numbers}
    assert numbers[0] == 0
    assert len(drawn) == 8
    # 7 adds the layer that 9 does not have, in the other order of the same two edits
    assert numbers != list(range(8))
