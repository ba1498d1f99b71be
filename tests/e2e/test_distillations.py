"""Distillations as a user runs them: real service, real Ray, real detectors, over HTTP."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from api.client import Client
from api.schemas.distillations import DistillationDetails
from searchd.domain.distillation_plan import Baseline
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.domain.trial import TrialRole
from searchd.spec import DistillationSpec, FineTuneSpec, FinishSpec
from tests.e2e.specs import HEAD, ONE_AT_A_TIME, TRAINING

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DISTILLATION = {
    "name": "studied",
    "dataset": "shapes",
    "pool": "teachers",
    "student": {
        "base": {"base_channels": 8, "training": {**TRAINING, "epochs": 1, "learning_rate": 0.02}},
        "head": {**HEAD, "neck_channels": 16},
    },
    "num_sampled_teachers": 2,
    "order": "backward_greedy",
    "max_teachers": 2,
    "study": True,
    "baselines": ["direct", "no_teacher", "mean_of_losses", "average_features"],
    "trial": {**TRAINING, "epochs": 1, "resolutions": ["64x64"]},
    "score": {"base_resolution": "64x64"},
    "resources": {"trials_in_flight": 2},
}
FINISHED_BEFORE = 4
"""Trials, base included, that the driver of the study may end before it is killed."""


def _run(client: Client, **changes: object) -> DistillationDetails:
    spec = DistillationSpec.model_validate({**DISTILLATION, **changes})
    ended = client.wait_for_distillation(client.submit_distillation(spec).id, poll_s=0.2)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    return ended


def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.1)


def _kill_driver(distillation_id: str) -> None:
    wanted = f"--work=distillation-{distillation_id}"
    drivers = [p for p in psutil.process_iter(["cmdline"]) if wanted in (p.info["cmdline"] or [])]
    assert drivers
    for driver in drivers:
        driver.kill()


def _succeeded(client: Client, distillation_id: str) -> dict[str, int]:
    """Return the number of the attempt that succeeded, by the trial's name."""
    rows = client.distillation_trials(distillation_id, status="succeeded")
    return {row.name: row.attempt for row in rows}


@pytest.fixture(scope="module")
def studied(client: Client) -> tuple[DistillationDetails, dict[str, int]]:
    """Run a study whose driver is killed while a stage runs; return it and the trials that had
    succeeded before."""
    spec = DistillationSpec.model_validate(DISTILLATION)
    distillation = client.submit_distillation(spec).id

    def in_the_middle() -> bool:
        found = client.get_distillation(distillation)
        assert found.finished_at is None, found.status_reason
        counts = found.trials
        return (
            counts.get(TrialStatus.SUCCEEDED, 0) >= FINISHED_BEFORE
            and counts.get(TrialStatus.RUNNING, 0) > 0
        )

    _until(in_the_middle)
    _kill_driver(distillation)
    before = _succeeded(client, distillation)
    ended = client.wait_for_distillation(distillation, poll_s=0.2)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    return ended, before


Studied = tuple[DistillationDetails, dict[str, int]]


def test_a_study_whose_driver_was_killed_ends_and_repeats_no_finished_trial(
    client: Client, studied: Studied
) -> None:
    ended, before = studied
    assert len(before) >= FINISHED_BEFORE
    after = _succeeded(client, ended.id)
    assert {name: after[name] for name in before} == dict.fromkeys(before, 1)
    said = [event.message for event in client.distillation_events(ended.id)]
    assert any("its driver" in message for message in said)


def test_a_study_trains_as_many_stages_as_its_prefix_tree_has(studied: Studied) -> None:
    ended, _ = studied
    # There are 2 orders of one teacher and 2 of two, and baselines have as many stages as the
    # order. The first stage of the baseline `direct` is also an order's. Where the order has one
    # teacher, `direct` equals the order, and there are no simultaneous teachers. The features of
    # two are not averaged: the necks of largest and smallest have 24 and 16 channels.
    expected = {1: 4 + 1, 2: 4 + 1 + 2 + 2}
    assert len(ended.stages) == expected[len(ended.order)]
    assert ended.trials == {TrialStatus.SUCCEEDED: len(ended.stages) + 1}
    assert all(stage.ap is not None and stage.trial_id is not None for stage in ended.stages)


def test_the_order_has_reasons_costs_and_a_rank(studied: Studied) -> None:
    ended, _ = studied
    assert all(choice.cost is not None and choice.cost > 0 for choice in ended.order)
    assert ended.order[-1].reason.startswith("the best teacher (AP ")
    aps = [each.ap for each in ended.teachers]
    assert len(aps) == 2
    assert None not in aps
    assert {name: len(costs) for name, costs in ended.costs.items()} == {
        "student": 2,
        "largest": 1,
        "smallest": 1,
    }
    assert ended.comparison is not None
    assert len(ended.comparison.orders) == 4
    assert ended.comparison.rank in range(1, 5)
    assert ended.comparison.base is not None
    assert set(ended.comparison.baselines) >= {Baseline.DIRECT, Baseline.NO_TEACHER}
    assert None not in ended.comparison.baselines.values()


def test_only_stages_with_a_teacher_are_distilled(client: Client, studied: Studied) -> None:
    ended, _ = studied
    for trial in client.distillation_trials(ended.id):
        if trial.role is TrialRole.BASE:
            continue
        losses = client.get_trial(trial.id).epochs[0].losses
        taught = any("feature_matching" in name for name in losses)
        assert taught == (trial.role is TrialRole.SEARCH), losses


def test_costs_of_the_same_student_and_teachers_are_not_measured_again(
    client: Client, studied: Studied
) -> None:
    first, _ = studied
    ended = _run(
        client,
        name="again",
        student={"trial": f"{first.id}-base"},
        study=False,
        baselines=[],
        max_teachers=1,
        resources=ONE_AT_A_TIME,
    )
    said = [event.message for event in client.distillation_events(ended.id)]
    assert "0 of 4 adaptation costs of 2 teachers are measured, the others are known" in said
    assert ended.costs == first.costs
    assert [stage.path for stage in ended.stages] == [first.order[-1].teacher]
    last = client.get_detector(ended.stages[0].trial_id or "")
    assert last.lineage == [f"{first.id}-base", f"{ended.id}-0"]


def test_a_low_resolution_student_learns_from_teachers_that_see_more(client: Client) -> None:
    ended = _run(
        client,
        name="small-images",
        order=["largest"],
        study=False,
        baselines=[],
        trial={**TRAINING, "epochs": 1, "resolutions": ["48x48"]},
        teacher_resolution="64x64",
        resources=ONE_AT_A_TIME,
    )
    (stage,) = ended.stages
    trial = client.get_trial(stage.trial_id or "")
    assert str(ended.resolution) == "48x48"
    assert trial.epochs[0].losses["feature_matching"] > 0


def test_a_sweep_of_a_weight_is_compared_on_the_splits_of_the_data_set(client: Client) -> None:
    field = "distillation.methods.feature_matching.weight"
    ended = _run(
        client,
        name="swept",
        order=["largest"],
        study=False,
        baselines=["no_teacher"],
        sweep={"field": field, "values": [0.5, 50]},
        resources=ONE_AT_A_TIME,
    )
    assert ended.sweep is not None
    students = ended.sweep.students
    assert [(each.value, each.baseline) for each in students] == [
        (None, None),
        (0.5, None),
        (50, None),
        (None, Baseline.NO_TEACHER),
    ]
    losses = [
        client.get_trial(each.trial_id or "").epochs[0].losses.get("feature_matching")
        for each in students
    ]
    default, tenth, tenfold, none = losses
    assert none is None
    # The losses are weighted, from the same student on the same batches; the default weight is 5.
    assert tenth is not None
    assert default is not None
    assert tenfold is not None
    assert tenth < default < tenfold
    assert all(each.validation is not None and each.validation.low is not None for each in students)
    assert students[0].difference is None
    assert all(each.difference is not None for each in students[1:])


def test_the_knee_is_fine_tuned_under_its_teacher_and_joins_front_and_lineage(
    client: Client, search: str, tmp_path: Path
) -> None:
    wanted = FinishSpec(method=FineTuneSpec(epochs=2))
    (made,) = client.finish(search, wanted)
    assert [again.id for again in client.finish(search, wanted)] == [made.id]

    ended = client.wait_for_distillation(made.id, poll_s=0.2)

    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    origin = client.get_trial(ended.origin_id or "")
    tuned = client.get_trial(f"{made.id}-0")
    assert tuned.proposal.teacher == origin.proposal.teacher
    assert len(tuned.epochs) == 2
    assert {"proposal_feature", "classification", "class_aware_localisation"} < set(
        tuned.epochs[0].losses
    )
    detector = client.get_detector(tuned.id)
    assert detector.lineage[0] == f"{search}-base"
    assert detector.lineage[-2:] == [origin.id, tuned.id]
    nodes = {node.id: node for node in client.lineage(search).trials}
    assert nodes[tuned.id].parent_id == origin.id
    assert f"{made.id}-base" not in nodes
    front = client.pareto(search)
    shown = {(point.trial_id, point.search) for point in (*front.front, *front.dominated)}
    assert (tuned.id, made.name) in shown
    assert client.download(tuned.id, "student", tmp_path / "student.safetensors").stat().st_size
