import json

import pytest
from pydantic import TypeAdapter, ValidationError

from searchd.domain.actions import Move, Rearrange
from searchd.domain.architecture import preset
from searchd.domain.distillation_methods import default_weight
from searchd.domain.encoding import encode
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import TeacherCandidates
from searchd.domain.trial import Proposal, TakeSubnet, TeacherPolicy, Train, TrialRole
from searchd.messages.tasks import TrialTask
from searchd.spec import (
    BaseSpec,
    FinishBudgetSpec,
    JointDetNasSpec,
    MethodSpec,
    MethodsSpec,
    PipelineSpec,
    PoolSearchSpec,
    PoolSpec,
    RandomSpec,
    SearchSpec,
    ShrinkPhaseSpec,
    SpaceSpec,
    TrainingSpec,
    check_pool,
    finishing_training,
)
from searchd.spec.codecs import PROPOSAL
from searchd.spec.described import describe

SEARCH = {"name": "first", "dataset": "shapes", "pool": "teachers"}
SUBNET = {"depths": [3, 4, 23, 3], "widths": [1.0, 1.0, 1.0, 1.0], "neck_channels": 256}


TAKES_SUBNET = Proposal(
    role=TrialRole.SEARCH,
    number=0,
    parent="base",
    change=TakeSubnet(subnet=Subnet(depths=(1,) * 4, widths=(1.0,) * 4, neck_channels=256)),
    teacher=None,
    seed=0,
    completed_before=1,
)


def test_defaults_are_the_papers() -> None:
    spec = SearchSpec.model_validate(SEARCH)
    assert (spec.trial.epochs, spec.trial.batch_size, spec.trial.learning_rate) == (3, 4, 0.01)
    assert (spec.trial.schedule, spec.trial.bn_l1) == ("cosine", 1e-5)
    assert isinstance(spec.strategy, JointDetNasSpec)
    assert (spec.strategy.top_k, spec.strategy.student_frozen_trials) == (5, 5)
    assert spec.strategy.teacher_policy is TeacherPolicy.MUTATE
    assert (spec.score.alpha, spec.score.beta) == (0.4, 0.8)
    assert [str(r) for r in spec.trial.resolutions] == [
        "512x512",
        "800x600",
        "1080x720",
        "1333x800",
    ]
    assert {m.name: default_weight(m.name, two_stage=True) for m in spec.distillation.methods} == {
        "proposal_feature": 1.0,
        "classification": 3.0,  # measured; the paper's is 1
        "class_aware_localisation": 1.0,
    }


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({}, JointDetNasSpec()),
        ({"prune_fraction": 0.1}, JointDetNasSpec(prune_fraction=0.1)),
        (
            {"kind": "random", "teacher_policy": "fixed"},
            RandomSpec(teacher_policy=TeacherPolicy.FIXED),
        ),
        ({"kind": "pool_search", "top_k": 2}, PoolSearchSpec(top_k=2)),
        ({"kind": "pipeline"}, PipelineSpec(macs_fraction=0.7, further_trials=7)),
        (
            {"kind": "pipeline", "macs_fraction": None, "macs": 1e9},
            PipelineSpec(macs_fraction=None, macs=1e9),
        ),
    ],
)
def test_strategy_is_chosen_by_its_kind_and_joint_detnas_without(
    strategy: dict[str, object], expected: object
) -> None:
    spec = SearchSpec.model_validate({**SEARCH, "strategy": strategy})
    assert spec.strategy == expected
    assert SearchSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"kind": "annealing"}, "'joint_detnas', 'random', 'pool_search', 'pipeline'"),
        ({"kind": "random", "top_k": 3}, "top_k"),
        ({"kind": "pipeline", "macs": 1e9}, "exactly one of macs_fraction, macs and latency_ms"),
        (
            {"kind": "pipeline", "further_trials": 100},
            "further_trials=100 makes 101 trials, but budget.max_trials=100",
        ),
    ],
)
def test_impossible_strategy_is_refused(strategy: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SearchSpec.model_validate({**SEARCH, "strategy": strategy})


def test_papers_shrinking_schedule_is_the_default() -> None:
    phases = PoolSpec(name="teachers", dataset="coco").phases
    assert [(p.learning_rate, p.epochs, p.distil) for p in phases] == [
        (0.12, 48, False),
        (0.04, 24, True),
        (0.04, 36, True),
    ]


def test_spec_survives_json() -> None:
    spec = SearchSpec.model_validate(SEARCH)
    assert SearchSpec.model_validate_json(spec.model_dump_json()) == spec
    assert json.loads(spec.model_dump_json())["score"]["base_resolution"] == "1333x800"


def test_base_may_be_a_checkpoint_of_mmdet() -> None:
    mmdet = {
        "config": "retinanet_r50_fpn_1x_coco",
        "checkpoint": "/data/model.pth",
        "options": {"backbone.depth": 18},
    }
    spec = SearchSpec.model_validate({**SEARCH, "base": {"backbone": None, "mmdet": mmdet}})

    assert spec.base.architecture is None
    assert SearchSpec.model_validate_json(spec.model_dump_json()) == spec


def test_base_is_either_built_or_loaded() -> None:
    mmdet = {"config": "retinanet_r50_fpn_1x_coco", "checkpoint": "/data/model.pth"}

    assert BaseSpec.model_validate({"mmdet": mmdet}).backbone is None
    with pytest.raises(
        ValidationError, match="exactly one of backbone, encoding, mmdet and export"
    ):
        SearchSpec.model_validate({**SEARCH, "base": {"backbone": "resnet18", "mmdet": mmdet}})


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ({"export": "exported"}, "export='exported' must be an absolute path"),
        ({"fine_tune": True}, "fine_tune belongs to mmdet or export"),
        (
            {"export": "/x", "pretrained": {"timm": "a"}},
            "a loaded detector has its own backbone",
        ),
        ({"pretrained": {}}, "exactly one of torchvision, timm and file"),
        ({"pretrained": {"timm": "a", "file": "/x"}}, "one of torchvision, timm and file"),
        ({"pretrained": {"file": "x.pth"}}, "file='x.pth' must be an absolute path"),
    ],
)
def test_weights_that_cannot_start_a_base_are_refused(
    base: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        BaseSpec.model_validate(base)


def test_methods_are_judged_by_the_head_of_a_loaded_base_once_it_is_known() -> None:
    """The family of a loaded base is read from its file when the search is submitted."""
    one_stage = {"methods": [{"name": "prediction_conversion"}]}
    loaded = {**SEARCH, "distillation": one_stage, "base": {"export": "/x"}}

    assert SearchSpec.model_validate(loaded).base.is_loaded
    for refused in (
        {**SEARCH, "distillation": one_stage},
        {**loaded, "head": {"family": "faster_rcnn"}},
    ):
        with pytest.raises(ValidationError, match="prediction_conversion"):
            SearchSpec.model_validate(refused)


def test_proposal_survives_json() -> None:
    proposal = Proposal(
        role=TrialRole.SEARCH,
        number=6,
        parent="3",
        change=Rearrange(stage=2, move=Move.LAST_TO_NEXT),
        teacher=SpaceSpec().space.largest,
        seed=5,
        completed_before=4,
    )
    assert PROPOSAL.validate_json(PROPOSAL.dump_json(proposal)) == proposal


def test_proposal_with_candidates_survives_json_and_its_task_needs_their_pool() -> None:
    space = SpaceSpec().space
    proposal = Proposal(
        role=TrialRole.SEARCH,
        number=6,
        parent="3",
        change=Train(),
        teacher=TeacherCandidates(candidates=(space.largest, space.smallest)),
        seed=5,
        completed_before=4,
    )
    assert PROPOSAL.validate_json(PROPOSAL.dump_json(proposal)) == proposal
    with pytest.raises(ValidationError, match="pool must be given if and only if a teacher"):
        TrialTask.model_validate(task(proposal=proposal))


def test_the_nearest_is_taken_of_no_more_subnets_than_the_pool_has() -> None:
    space = SpaceSpec(
        depths=((1, 2), (1,), (1,), (1,)), widths=((1.0,),) * 4, neck_channels=(16, 24)
    )
    pool = PoolSpec(
        name="teachers",
        dataset="shapes",
        space=space,
        phases=(phase(min_depths=(2, 1, 1, 1), min_width=1.0),),
    )
    nearest = {"teacher_policy": "nearest", "nearest_candidates": 5}
    check_pool(SearchSpec.model_validate({**SEARCH, "strategy": {"nearest_candidates": 5}}), pool)
    check_pool(SearchSpec.model_validate({**SEARCH, "strategy": {"kind": "pool_search"}}), pool)
    check_pool(
        SearchSpec.model_validate({**SEARCH, "strategy": {**nearest, "nearest_candidates": 4}}),
        pool,
    )
    with pytest.raises(InvalidValueError, match="nearest_candidates=5, but the pool has 4 subnets"):
        check_pool(SearchSpec.model_validate({**SEARCH, "strategy": nearest}), pool)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bogus": 1}, "Extra inputs are not permitted"),
        ({"name": "Has Spaces"}, "String should match pattern"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"budget": {"max_trials": 0}}, "greater than or equal to 1"),
        ({"trial": {"resolutions": ["800"]}}, "must look like 1333x800"),
        ({"trial": {"resolutions": []}}, "at least one WxH"),
        ({"base": {"backbone": "vgg16"}}, 'there is no backbone "vgg16"'),
        ({"base": {"backbone": None}}, "exactly one of backbone, encoding, mmdet and export"),
        ({"base": {"backbone": None, "encoding": "[(1)]"}}, "2 channel numbers|4 stages"),
        ({"distillation": {"methods": [{"name": "magic"}]}}, "Input should be"),
        ({"strategy": {"actions": ["explode"]}}, "Input should be"),
        ({"strategy": {"nearest_candidates": 1}}, "greater than or equal to 2"),
        (
            {"strategy": {"kind": "pool_search", "nearest_candidates": 4}},
            "nearest_candidates\n  Unexpected keyword argument",
        ),
    ],
)
def test_wrong_search_is_refused_with_the_rule(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SearchSpec.model_validate({**SEARCH, **change})


def test_method_named_twice_is_refused() -> None:
    methods = (MethodSpec(name="classification"), MethodSpec(name="classification"))
    with pytest.raises(ValidationError, match="named once each"):
        MethodsSpec(methods=methods)


def test_width_of_a_named_or_encoded_base_is_the_published_one_unless_given() -> None:
    assert BaseSpec(backbone="mobilenet_v2").architecture == preset("mobilenet_v2")
    narrow = BaseSpec(backbone="mobilenet_v2", base_channels=8).architecture
    assert narrow == preset("mobilenet_v2", base_channels=8)
    assert BaseSpec(backbone="qr50").architecture == preset("resnet50", base_channels=16)
    for name in ("mobilenet_v2", "resnext50_32x4d"):
        published = preset(name)
        encoded = BaseSpec(
            backbone=None,
            encoding=encode(published),
            block=published.kind,
            groups=published.groups[0][0],
        )
        assert encoded.architecture == published


def test_base_is_named_or_encoded() -> None:
    encoded = BaseSpec(
        backbone=None,
        encoding="[(8, 8)], [(16, 16)], [(32, 32)], [(64, 64)]",
        base_channels=8,
    )
    assert encoded.architecture is not None
    assert encoded.architecture.depths == (1, 1, 1, 1)
    assert BaseSpec().architecture == preset("resnet18")


def phase(**change: object) -> ShrinkPhaseSpec:
    values = {
        "name": "supernet",
        "min_depths": (3, 4, 23, 3),
        "min_width": 1.5,
        "learning_rate": 0.1,
        "epochs": 1,
        "distil": False,
    }
    return ShrinkPhaseSpec.model_validate({**values, **change})


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ((), "phases must not be empty"),
        ((phase(min_depths=(9, 4, 23, 3)),), r"min_depths\[1\]=9 exceeds"),
        ((phase(min_width=2.0),), "min_width=2.0 exceeds"),
        ((phase(distil=True),), "cannot distil"),
    ],
)
def test_impossible_shrinking_is_refused(phases: tuple[ShrinkPhaseSpec, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PoolSpec(name="teachers", dataset="coco", phases=phases)


def task(**change: object) -> dict[str, object]:
    base = Proposal(
        role=TrialRole.BASE,
        number=0,
        parent=None,
        change=Train(),
        teacher=None,
        seed=0,
        completed_before=0,
    )
    spec = SearchSpec.model_validate(SEARCH)
    return {
        "search": "s-1",
        "proposal": base,
        "attempt": 1,
        "dataset": {
            "name": "d",
            "train": {"annotations": "a", "images": "b"},
            "validation": {"annotations": "a", "images": "b"},
        },
        "detector": spec.head.detector(preset("resnet18"), 4),
        "training": TrainingSpec(),
        "score": spec.score,
        "evaluated_at": (Resolution(96, 96),),
        "artifacts": "/data",
        **change,
    }


def test_task_survives_json() -> None:
    made = TrialTask.model_validate(task())
    assert TrialTask.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detector": None}, "exactly one of detector, loaded_base and inherited"),
        ({"proposal": TAKES_SUBNET}, "none to take a subnet"),
        ({"proposal": TAKES_SUBNET, "detector": None}, "pool must be given if and only if"),
        (
            {
                "pool": {
                    "supernet": {"name": "s", "uri": "u", "sha256": "", "size_bytes": 0},
                    "space": SpaceSpec(),
                    "head": {},
                    "bn_reset_images": 1,
                }
            },
            "a teacher of the proposal is a subnet or the proposal takes a subnet",
        ),
        (
            {
                "proposal": Proposal(
                    role=TrialRole.CONTROL,
                    number=1,
                    parent="base",
                    change=Train(),
                    teacher=None,
                    seed=0,
                    completed_before=1,
                )
            },
            "inherited must be given unless the trial is the base or takes a subnet",
        ),
    ],
)
def test_contradictory_task_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrialTask.model_validate(task(**change))


@pytest.mark.parametrize("spec", [JointDetNasSpec, RandomSpec, PoolSearchSpec, PipelineSpec])
def test_options_of_a_strategy_are_described_and_bounded(spec: type) -> None:
    """Text and bounds are declared with the strategy's settings, which do not import pydantic."""
    schema = TypeAdapter(spec).json_schema()
    describe({spec.__name__: schema})

    for option in schema["properties"].values():
        assert option["description"]
        numbers = [each for each in (option, *option.get("anyOf", ())) if "type" in each]
        for number in numbers:
            if number["type"] in ("integer", "number"):
                assert {"minimum", "exclusiveMinimum"} & number.keys()


@pytest.mark.parametrize(
    ("strategy", "option"),
    [
        ({"top_k": 0}, "top_k"),
        ({"prune_fraction": 1.0}, "prune_fraction"),
        ({"student_probability": float("nan")}, "student_probability"),
        ({"kind": "random", "nearest_candidates": 1}, "nearest_candidates"),
        ({"kind": "pool_search", "another_gene_probability": 1.0}, "another_gene_probability"),
        ({"kind": "pipeline", "further_trials": -1}, "further_trials"),
    ],
)
def test_option_of_a_strategy_beyond_its_bounds_is_refused(
    strategy: dict[str, object], option: str
) -> None:
    with pytest.raises(ValidationError, match=rf"strategy\.\w+\.{option}\n"):
        SearchSpec.model_validate({**SEARCH, "strategy": strategy})


def test_a_search_finishes_three_detectors_by_twelve_epochs_unless_told_otherwise() -> None:
    assert SearchSpec.model_validate(SEARCH).budget.finish == FinishBudgetSpec(
        detectors=3, epochs=12, learning_rate=None
    )
    without = SearchSpec.model_validate({**SEARCH, "budget": {"finish": None}})
    assert without.budget.finish is None


def test_a_pool_search_finishes_nothing_and_says_so_if_it_is_to() -> None:
    search = {**SEARCH, "strategy": {"kind": "pool_search"}}
    made = SearchSpec.model_validate(search)

    assert made.budget.finish is None
    assert SearchSpec.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(ValidationError, match="a pool_search trains nothing that could be finish"):
        SearchSpec.model_validate({**search, "budget": {"finish": {"epochs": 4}}})


def test_finishing_is_a_longer_trial_with_a_cosine_from_its_first_step() -> None:
    trial = TrainingSpec(
        epochs=3, learning_rate=0.02, schedule="step", warmup_iterations=50, bn_l1=1e-5
    )

    finished = finishing_training(trial, FinishBudgetSpec(epochs=8))

    assert finished == TrainingSpec(epochs=8, learning_rate=0.02, schedule="cosine", bn_l1=0)
    lower = finishing_training(trial, FinishBudgetSpec(learning_rate=0.005))
    assert lower.learning_rate == 0.005


def test_a_pool_search_cannot_have_a_control_of_equal_macs() -> None:
    spec = {**SEARCH, "strategy": {"kind": "pool_search"}, "control": {"equal_macs": True}}

    with pytest.raises(ValidationError, match="a pool_search trains nothing to compare with"):
        SearchSpec.model_validate(spec)
