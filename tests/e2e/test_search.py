"""A whole search as a user runs it: real service, real Ray, real detectors, over HTTP."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from api.client import ApiError, Client
from detection.build import Student, load_student
from detection.mmdet.config import build_config, model_config
from searchd.domain.detector import MmdetDetector
from searchd.domain.lifecycle import PoolStatus, SearchStatus, TrialStatus
from searchd.domain.trial import TrialRole
from searchd.spec import SearchSpec
from tests.e2e.specs import ONE_AT_A_TIME, SEARCH

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_pool_is_trained_and_its_subnets_are_evaluated(client: Client, search: str) -> None:
    pool_id = client.get_search(search).pool_id
    assert pool_id is not None
    pool = client.get_pool(pool_id)
    assert pool.status is PoolStatus.READY
    assert [epoch.phase for epoch in pool.epochs] == ["supernet", "shrink"]
    assert len({str(measured.subnet) for measured in pool.subnets}) == 2


def test_student_and_teacher_both_evolve_from_the_base(client: Client, search: str) -> None:
    trials = list(client.trials(search))
    assert [t.name for t in trials[:5]] == ["base", "0", "1", "2", "3"]
    assert all(t.status is TrialStatus.SUCCEEDED for t in trials)
    kinds = {t.proposal.change.kind for t in trials if t.role is TrialRole.SEARCH}
    assert {"train", "mutate_teacher"} < kinds
    assert trials[2].teacher != trials[1].teacher
    assert {t.role for t in trials[5:]} == {TrialRole.FINISH, TrialRole.CONTROL}


def test_the_best_are_finished_and_the_control_is_trained_like_the_answer(
    client: Client, search: str
) -> None:
    trials = {t.name: t for t in client.trials(search)}
    searched = [t for t in trials.values() if t.role is TrialRole.SEARCH]
    finished = [t for t in trials.values() if t.role is TrialRole.FINISH]
    best_before = max(searched, key=lambda t: t.score or 0.0)
    assert 1 <= len(finished) <= 2
    assert finished[0].parent_id == best_before.id
    for trial in finished:
        parent = next(t for t in searched if t.id == trial.parent_id)
        assert (trial.encoding, trial.teacher) == (parent.encoding, parent.teacher)
        details = client.get_trial(trial.id)
        assert [epoch.epoch for epoch in details.epochs] == [1, 2]
        taught = "proposal_feature" in details.epochs[0].losses
        assert taught == (parent.teacher is not None)
    best = max([*searched, *finished], key=lambda t: t.score or 0.0)
    assert client.get_search(search).best_trial_id == best.id
    controls = [t for t in trials.values() if t.role is TrialRole.CONTROL]
    assert [t.change for t in controls].count("finish the training") == (best in finished)
    assert controls[0].change == "train"


def test_every_trial_is_measured_at_every_resolution(client: Client, search: str) -> None:
    for trial in client.trials(search):
        assert [str(e.resolution) for e in trial.evaluations] == ["48x48", "64x64"]
        assert all(e.latency_s > 0 and e.macs > 0 for e in trial.evaluations)
        assert trial.score == max(e.score or 0.0 for e in trial.evaluations)


def test_distilled_trials_keep_the_losses_of_every_epoch(client: Client, search: str) -> None:
    trial = client.get_trial(f"{search}-0")
    assert [epoch.epoch for epoch in trial.epochs] == [1]
    assert {"proposal_feature", "classification", "class_aware_localisation"} < set(
        trial.epochs[0].losses
    )


def test_front_holds_measured_detectors_by_ascending_cost(client: Client, search: str) -> None:
    front = client.pareto(search).front
    assert front
    assert [p.evaluation.macs for p in front] == sorted(p.evaluation.macs for p in front)
    assert [p.evaluation.ap for p in front] == sorted(p.evaluation.ap for p in front)


def test_the_report_compares_base_best_and_control_on_the_test_split(
    client: Client, search: str
) -> None:
    report = client.report(search)
    assert (report.split, report.num_images) == ("test", 8)
    labels = [each.label for each in report.detectors if each.is_own_best]
    assert [label for label in labels if label != "finished"] == ["base", "best", "control"]
    finished = [t.id for t in client.trials(search) if t.role is TrialRole.FINISH]
    best = client.get_search(search).best_trial_id
    assert labels.count("finished") == len(set(finished) - {best})
    for each in report.detectors:
        assert each.measured is not None
        assert each.measured.low is not None
        assert each.measured.high is not None
        assert each.measured.low <= each.measured.ap + 1e-6
    assert all(each.low is not None for each in report.differences)
    assert report.front
    assert all(each.measured is not None for each in report.front)
    assert report.compared_teachers > 0
    front = client.pareto(search).front
    assert all(point.test is not None for point in front)


def test_detector_of_the_front_downloads_and_loads(
    client: Client, search: str, tmp_path: Path
) -> None:
    point = client.pareto(search).front[-1]
    detector = client.get_detector(point.trial_id)
    file = client.download(point.trial_id, "student", tmp_path / "student.safetensors")
    load_student(Student(detector=detector.detector, weights=load_file(file)))
    assert detector.lineage[0] == f"{search}-base"


@pytest.mark.usefixtures("search")
def test_a_retinanet_that_mmdet_trained_learns_from_the_two_stage_pool(
    client: Client, tmp_path: Path
) -> None:
    options = {
        "backbone.base_channels": 8,
        "neck.in_channels": [8, 16, 32, 64],
        "neck.out_channels": 16,
        "bbox_head.in_channels": 16,
        "bbox_head.feat_channels": 16,
        "bbox_head.stacked_convs": 1,
    }
    config = "retinanet_r18_fpn_1x_coco"
    described = MmdetDetector(config=config, num_classes=4, options=options)
    checkpoint = tmp_path / "retinanet.safetensors"
    save_file(build_config(model_config(described)).state_dict(), checkpoint)
    spec = SearchSpec.model_validate(
        {
            **SEARCH,
            "name": "loaded",
            "base": {
                "backbone": None,
                "mmdet": {"config": config, "checkpoint": str(checkpoint), "options": options},
            },
            "head": {
                "family": "retinanet",
                "neck_channels": 16,
                "tower_channels": 16,
                "tower_convs": 1,
                "sampled_rois": 32,
            },
            "distillation": {"methods": [{"name": "sgfi"}, {"name": "ckd"}]},
            "budget": {"max_trials": 2, "finish": None},
            "control": False,
            "resources": ONE_AT_A_TIME,
        }
    )

    ended = client.wait_for_search(client.submit_search(spec).id, poll_s=0.2)

    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    base, first, _ = client.trials(ended.id)
    assert (base.status, base.progress) == (TrialStatus.SUCCEEDED, None)
    assert client.get_trial(base.id).epochs == []
    assert {"sgfi", "ckd"} < set(client.get_trial(first.id).epochs[0].losses)
    assert first.checks is not None
    assert first.checks.teacher_ap is not None
    assert first.checks.undistilled_difference == 0.0


@pytest.mark.usefixtures("search")
def test_a_search_of_the_methods_distils_its_trials_by_different_ones(client: Client) -> None:
    spec = SearchSpec.model_validate(
        {
            **SEARCH,
            "name": "methods",
            "distillation": "search",
            "strategy": {"student_frozen_trials": 9, "teach_by_weaker": True},
            "budget": {"max_trials": 4, "finish": None},
            "control": False,
            "resources": ONE_AT_A_TIME,
        }
    )

    ended = client.wait_for_search(client.submit_search(spec).id, poll_s=0.2)

    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    assert ended.spec.distillation.search is not None
    assert len(ended.spec.distillation.search.methods or ()) > 5, "chosen when it was submitted"
    base, *searched = client.trials(ended.id)
    assert base.methods is None
    assert searched[0].methods == "proposal_feature 1, classification 3, class_aware_localisation 1"
    assert {each.proposal.change.kind for each in searched} >= {"train", "mutate_methods"}
    assert len({each.methods for each in searched}) > 1
    for trial in searched:
        assert trial.proposal.methods is not None
        losses = {name.split(".")[0] for name in client.get_trial(trial.id).epochs[0].losses}
        assert {m.name.value for m in trial.proposal.methods.methods if m.weight} <= losses


@pytest.mark.usefixtures("search")
def test_methods_that_cannot_fit_the_pool_are_refused_when_submitted(client: Client) -> None:
    spec = {**SEARCH, "name": "never", "distillation": {"methods": [{"name": "head_transfer"}]}}

    with pytest.raises(ApiError, match="head_transfer needs a teacher with the student's head"):
        client.submit_search(SearchSpec.model_validate(spec))
