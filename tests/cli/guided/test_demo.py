"""What the demo says of its results and of the time left."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api import schemas
from api.schemas.trials import SplitAp
from cli.guided.demo import _specs
from cli.guided.report import plot_front
from cli.guided.watch import Snapshot, seconds_left
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Finish, Proposal, Train, TrialRole
from searchd.spec import SearchSpec


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
    pool, search = _specs(trials=None, seed=3)
    assert search.budget.max_trials >= 12
    assert (pool.seed, search.seed) == (3, 3)
    assert [phase.distil for phase in pool.phases] == [False, True, True]


def test_number_of_trials_can_be_chosen() -> None:
    _, search = _specs(trials=15, seed=0)
    assert search.budget.max_trials == 15


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
