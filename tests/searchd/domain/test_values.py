import pytest

from searchd.domain.actions import PruneLayer
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.errors import IllegalTransitionError, InvalidValueError
from searchd.domain.lifecycle import FailureCause, SearchStatus, TrialStatus, WorkStatus
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost
from searchd.domain.subnet import Subnet
from searchd.domain.transitions import check_transition, is_final, next_statuses
from searchd.domain.trial import (
    MutateTeacher,
    Proposal,
    PruneToMacs,
    TakeSubnet,
    Train,
    TrainSwept,
    TrialRole,
    describe_change,
    scalar_text,
)


def test_resolution_reads_and_prints_wxh() -> None:
    assert Resolution.parse("1333x800") == Resolution(1333, 800)
    assert str(Resolution(512, 512)) == "512x512"
    assert Resolution(1080, 720).area == 777_600


@pytest.mark.parametrize("text", ["", "800", "800x", "x800", "-8x8", "8.5x8", "1x2x3", "0x5"])
def test_other_text_is_not_a_resolution(text: str) -> None:
    with pytest.raises(InvalidValueError, match="resolution"):
        Resolution.parse(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_classes", 0), ("neck_channels", 0), ("anchor_scale", 0.0), ("sampled_rois", 3)],
)
def test_impossible_detector_is_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidValueError, match=field):
        Detector(architecture=preset("resnet18"), **{field: value})  # type: ignore[arg-type]  # wrong on purpose


def test_a_running_trial_may_be_requeued_but_a_finished_one_may_not() -> None:
    check_transition("trial 3", TrialStatus.RUNNING, TrialStatus.PENDING)
    with pytest.raises(IllegalTransitionError, match="trial 3 cannot go from succeeded to pending"):
        check_transition("trial 3", TrialStatus.SUCCEEDED, TrialStatus.PENDING)


def test_statuses_of_different_resources_have_their_own_tables() -> None:
    assert next_statuses(WorkStatus.QUEUED) == {
        WorkStatus.LEASED,
        WorkStatus.PAUSED,
        WorkStatus.DONE,
        WorkStatus.FAILED,
    }
    assert SearchStatus.PREPARING in next_statuses(SearchStatus.QUEUED)
    assert is_final(SearchStatus.CANCELLED)
    assert not is_final(SearchStatus.CANCELLING)


def test_only_a_lost_worker_is_worth_another_attempt() -> None:
    retried = [cause for cause in FailureCause if cause.is_retried]
    assert retried == [FailureCause.WORKER_LOST, FailureCause.STORE_REFUSED]


@pytest.mark.parametrize(
    ("role", "number", "name"),
    [
        (TrialRole.BASE, 0, "base"),
        (TrialRole.SEARCH, 7, "7"),
        (TrialRole.CONTROL, 2, "control-2"),
    ],
)
def test_name_of_a_trial(role: TrialRole, number: int, name: str) -> None:
    proposal = Proposal(
        role=role,
        number=number,
        parent=None,
        change=Train(),
        teacher=None,
        seed=0,
        completed_before=0,
    )
    assert proposal.name == name


def test_description_of_a_change() -> None:
    assert describe_change(Train()) == "train"
    swept = TrainSwept(field="trial.learning_rate", value=0.02)
    assert describe_change(swept) == "train with trial.learning_rate=0.02"
    assert describe_change(MutateTeacher()) == "mutate the teacher"
    assert describe_change(PruneLayer()) == "prune a layer"
    assert describe_change(PruneToMacs(fraction=0.7)) == "prune channels to 70% of MACs"
    assert describe_change(PruneToMacs(macs=1.25e11)) == "prune channels to 125 GMACs"
    subnet = Subnet(depths=(1, 2, 3, 1), widths=(1.0, 1.0, 1.5, 1.0), neck_channels=24)
    assert describe_change(TakeSubnet(subnet=subnet)) == "take subnet d1-2-3-1 w1/1/1.5/1 n24"


def test_value_of_a_setting_is_shown_as_a_spec_has_it() -> None:
    values = (None, True, 3, 1e-05, 50.0, "linear")
    assert [*map(scalar_text, values)] == ["default", "true", "3", "1e-05", "50", "linear"]


def test_target_of_pruning_is_a_fraction_of_the_parents_macs_or_absolute() -> None:
    assert PruneToMacs(fraction=0.75).target(parent_cost=200.0) == 150.0
    assert PruneToMacs(macs=120.0).target(parent_cost=200.0) == 120.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "exactly one of fraction=None, macs=None and latency_s=None"),
        ({"fraction": 0.5, "macs": 1e9}, "exactly one of"),
        ({"fraction": 1.0}, "fraction=1.0 must lie between 0 and 1"),
        ({"macs": 0.0}, "macs=0.0 must be positive"),
    ],
)
def test_impossible_target_of_pruning_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        PruneToMacs(**values)  # type: ignore[arg-type]  # min_channels, an int, is not given


def test_a_target_of_pruning_is_of_one_cost() -> None:
    assert PruneToMacs(latency_s=0.008, cost=Cost.LATENCY).target(0.02) == 0.008
    assert PruneToMacs(fraction=0.5, cost=Cost.LATENCY).target(0.02) == 0.01
    with pytest.raises(InvalidValueError, match="latency_s=0.008 is no target of cost=macs"):
        PruneToMacs(latency_s=0.008)
    with pytest.raises(InvalidValueError, match="give exactly one of fraction=0.5, macs=1"):
        PruneToMacs(fraction=0.5, macs=1.0)


def test_a_target_of_pruning_is_told_in_its_unit() -> None:
    by_latency = PruneToMacs(latency_s=0.008, cost=Cost.LATENCY)
    assert describe_change(by_latency) == "prune channels to 8 ms"
    by_params = PruneToMacs(fraction=0.5, cost=Cost.PARAMS)
    assert describe_change(by_params) == "prune channels to 50% of parameters"
