"""What the demo says of its results and of the time left."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api import schemas
from api.schemas.trials import SplitAp
from cli.guided.demo import SHIPPED_POOL, _resuming, _specs, describe_teachers
from cli.guided.report import plot_front
from cli.guided.stages import StageError
from cli.guided.watch import Snapshot, seconds_left
from cli.service import read_spec
from detection.data.shapes import CLASSES
from detection.exported_pool import check_pool_export
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Finish, Proposal, Train, TrialRole
from searchd.spec import PoolSpec, SearchSpec
from tests.cli.conftest import Run


def answer(schema: type[schemas.Schema], **values: object) -> Any:
    """An answer of the service of which only these fields are read."""
    return schema.model_construct(_fields_set=None, **values)


def trial(name: str, role: TrialRole, score: float | None = None) -> schemas.Trial:
    trial: schemas.Trial = answer(
        schemas.Trial,
        **{"id": f"s-1-{name}", "search_id": "s-1", "name": name, "role": role, "score": score},
        started_at=None,
        finished_at=None,
        proposal=proposal(role),
    )
    return trial


def proposal(role: TrialRole) -> Proposal:
    return Proposal(
        role=role,
        number=1,
        parent="0",
        change=Finish() if role is TrialRole.FINISH else Train(),
        teacher=None,
        seed=0,
        completed_before=1,
    )


def point(role: TrialRole, macs: float, ap: float, test: SplitAp | None = None) -> schemas.Point:
    evaluation = answer(schemas.Evaluation, resolution=Resolution(96, 96), macs=macs, ap=ap)
    made: schemas.Point = answer(schemas.Point, role=role, evaluation=evaluation, test=test)
    return made


def test_plot_is_a_png_of_readable_size(tmp_path: Path) -> None:
    pareto = answer(
        schemas.Pareto,
        x="macs",
        y="ap",
        front=[
            point(TrialRole.SEARCH, 4e7, 0.4),
            point(TrialRole.FINISH, 4e7, 0.5),
            point(TrialRole.BASE, 8e7, 0.5, answer(SplitAp, ap=0.45, low=0.4, high=0.5)),
        ],
        dominated=[point(TrialRole.CONTROL, 9e7, 0.45)],
    )
    with Image.open(plot_front(pareto, tmp_path / "pareto.png")) as image:
        assert image.format == "PNG"
        assert min(image.size) > 400


def test_demos_specs_are_valid_and_of_at_least_12_trials() -> None:
    pool, search = _specs(trials=None, seed=3, from_nothing=True)
    assert search.budget.max_trials >= 12
    assert (pool.seed, search.seed) == (3, 3)
    assert [phase.distil for phase in pool.phases] == [False, True, True]


def test_number_of_trials_can_be_chosen() -> None:
    _, search = _specs(trials=15, seed=0)
    assert search.budget.max_trials == 15


def test_demo_imports_the_shipped_teachers_for_its_data_set() -> None:
    pool, search = _specs(trials=None, seed=0)
    assert pool.source == SHIPPED_POOL
    assert (pool.name, pool.dataset) == (search.pool, search.dataset)
    assert pool.space.base_channels > 6  # those of the base


def test_shipped_teachers_are_those_of_their_spec_and_know_the_demos_classes() -> None:
    export = check_pool_export(SHIPPED_POOL)
    assert export.spec == read_spec(SHIPPED_POOL.parent / "shipped-pool.yaml", PoolSpec)
    assert export.class_names == CLASSES[:4]
    size = sum(path.stat().st_size for path in SHIPPED_POOL.iterdir())
    assert size < 8e6


def test_demo_says_that_its_teachers_have_seen_more_images() -> None:
    said = describe_teachers(SHIPPED_POOL)
    assert "on 2,000 images of shapes with seed 1000" in said
    assert "They have seen more images than the student will" in said


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--trials", 3), "--trials 3 belongs to the demo on synthetic data"),
        (("--from-nothing",), "--from-nothing belongs to the demo on synthetic data"),
    ],
    ids=("trials", "from-nothing"),
)
def test_options_without_a_meaning_on_own_data_are_refused(
    offline: Run, tmp_path: Path, option: tuple[object, ...], reason: str
) -> None:
    folder = tmp_path / "data"
    result = offline("demo", "--data", tmp_path, *option, "--data-folder", folder)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not folder.exists()


def test_demo_on_own_data_is_a_run_of_10_minutes(
    offline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise StageError("no service here")

    monkeypatch.setattr("cli.guided.stages.local_service", unreachable)
    photos = tmp_path / "Photos"
    photos.mkdir()
    result = offline("demo", "--data", photos, "--seed", 4, "--data-folder", tmp_path / "data")
    assert result.exit_code == 1
    assert "The run failed: no service here" in result.stdout
    begun = json.loads((tmp_path / "data" / "runs" / "photos" / "options.json").read_text())
    assert (begun["options"]["budget"], begun["options"]["seed"]) == ("10m", 4)
    assert begun["dataset"]["paths"] == [str(photos)]


def snapshot(trials: list[schemas.Trial], finish: dict[str, int] | None = None) -> Snapshot:
    spec = SearchSpec.model_validate(
        {
            "name": "demo",
            "dataset": "shapes",
            "pool": "teachers",
            "budget": {"max_trials": 10, "finish": finish},
            "resources": {"trials_in_flight": 2},
        }
    )
    return Snapshot(
        answer(schemas.SearchDetails, spec=spec, status=SearchStatus.RUNNING),
        answer(schemas.PoolDetails, finished_at=datetime.now(UTC)),
        trials,
    )


def done(name: str, role: TrialRole, seconds: float) -> schemas.Trial:
    end = datetime.now(UTC)
    return trial(name, role).model_copy(
        update={"started_at": end - timedelta(seconds=seconds), "finished_at": end}
    )


def test_time_left_follows_from_the_trials_done() -> None:
    base = done("base", TrialRole.BASE, 100)
    trials = [done(str(number), TrialRole.SEARCH, 20) for number in range(4)]
    # 6 trials of 20 s, two at a time, and a control of about three.
    assert seconds_left(snapshot([base, *trials])) == pytest.approx(6 / 2 * 20 + 3 * 20)


def test_time_left_counts_the_finishing_of_detectors_and_of_the_control() -> None:
    base = done("base", TrialRole.BASE, 100)
    trials = [done(str(number), TrialRole.SEARCH, 20) for number in range(10)]
    finish = {"epochs": 12, "detectors": 3}
    # A finishing training is as long as 4 trials of 3 epochs. Two rounds of them, two at a time;
    # then a control of about three trials, which is finished too.
    before = snapshot([base, *trials], finish)
    assert seconds_left(before) == pytest.approx(2 * 80 + 3 * 20 + 80)
    one_left = [done("finish-1", TrialRole.FINISH, 95), done("finish-2", TrialRole.FINISH, 95)]
    later = snapshot([base, *trials, *one_left, trial("finish-3", TrialRole.FINISH)], finish)
    assert seconds_left(later) == pytest.approx(80 + 3 * 20 + 80)


def test_time_left_is_unknown_before_anything_was_measured() -> None:
    assert seconds_left(snapshot([])) is None


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ((None, 0, False), "searchd demo --data-folder here"),
        ((6, 2, True), "searchd demo --from-nothing --trials 6 --seed 2 --data-folder here"),
    ],
    ids=("no options", "all options"),
)
def test_interrupted_demo_is_resumed_with_its_options(
    given: tuple[int | None, int, bool], command: str
) -> None:
    assert _resuming(Path("here"), *given) == command
