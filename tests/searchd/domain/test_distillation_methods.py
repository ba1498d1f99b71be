"""The catalogue refuses what cannot work, and says what would."""

from dataclasses import fields, replace
from typing import Any

import pytest
from pydantic import ValidationError

from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.distillation_methods import (
    CATALOGUE,
    JOINT_DETNAS,
    CwdOptions,
    FeatureImitationOptions,
    MethodName,
    MgdOptions,
    SgfiOptions,
    default_weight,
)
from searchd.domain.errors import InvalidValueError
from searchd.domain.head_geometry import HeadGeometry
from searchd.domain.method_description import Tap
from searchd.domain.method_fit import (
    Traits,
    check_average,
    check_fit,
    check_grid,
    fitting,
    misfit,
    traits,
)
from searchd.domain.method_options import (
    CkdOptions,
    CrosskdOptions,
    DicodClassificationOptions,
    DicodLocalisationOptions,
    FgdOptions,
    IcdOptions,
)
from searchd.domain.resolution import Resolution
from searchd.spec import SearchSpec

FASTER, CASCADE, MASK = Family.FASTER_RCNN, Family.CASCADE_RCNN, Family.MASK_RCNN
CASCADE_MASK = Family.CASCADE_MASK_RCNN
TWO_STAGE = "cascade_mask_rcnn or cascade_rcnn or faster_rcnn or mask_rcnn"
RETINANET, FCOS = Family.RETINANET, Family.FCOS
ATSS, GFL = Family.ATSS, Family.GFL
VFNET, TOOD = Family.VFNET, Family.TOOD
ON_THE_NECK = {"feature_matching", "feature_imitation", "icd", "cwd", "fgd", "mgd"}
BY_A_CLASSIFIER = {"dicod_classification", "dicod_localisation"}
ALWAYS = ON_THE_NECK | BY_A_CLASSIFIER
ON_REGIONS = {"proposal_feature", "sgfi", "ckd"}
ON_BOXES = {"class_aware_localisation", "localisation"}
WITH_THE_SAME_HEAD = {"head_transfer", "inheriting"}
OTHERS = {"classification", "prediction_conversion"}
PUBLISHED = ALWAYS | ON_REGIONS | ON_BOXES | WITH_THE_SAME_HEAD | OTHERS
"""The methods of which these tests say what they fit; a new one says so in a test of its own."""


def of(family: Family, **values: Any) -> Traits:
    return traits(Detector(architecture=preset("resnet18"), family=family, **values))


def pool(*neck_channels: int) -> Traits:
    detector = Detector(architecture=preset("resnet50"))
    return traits(detector, neck_channels=neck_channels)


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (FASTER, FASTER, ON_REGIONS | {"classification"} | ON_BOXES | WITH_THE_SAME_HEAD),
        (FASTER, CASCADE, ON_REGIONS | {"classification"}),
        (FASTER, MASK, ON_REGIONS | {"classification"} | ON_BOXES),
        (MASK, FASTER, ON_REGIONS | {"classification"} | ON_BOXES),
        (MASK, MASK, ON_REGIONS | {"classification"} | ON_BOXES | WITH_THE_SAME_HEAD),
        (FASTER, RETINANET, set()),
        (FASTER, FCOS, set()),
        (CASCADE, FASTER, ON_REGIONS | {"classification"}),
        (CASCADE, CASCADE, ON_REGIONS | {"classification"} | WITH_THE_SAME_HEAD),
        (CASCADE, CASCADE_MASK, ON_REGIONS | {"classification"}),
        (CASCADE_MASK, CASCADE_MASK, ON_REGIONS | {"classification"} | WITH_THE_SAME_HEAD),
        (MASK, CASCADE_MASK, ON_REGIONS | {"classification"}),
        (CASCADE, RETINANET, set()),
        (CASCADE, FCOS, set()),
        (RETINANET, FASTER, ON_REGIONS | {"prediction_conversion"}),
        (RETINANET, CASCADE, ON_REGIONS | {"prediction_conversion"}),
        (RETINANET, RETINANET, {"inheriting"}),
        (RETINANET, FCOS, set()),
        (FCOS, FASTER, ON_REGIONS | {"prediction_conversion"}),
        (FCOS, CASCADE, ON_REGIONS | {"prediction_conversion"}),
        (FCOS, RETINANET, set()),
        (FCOS, FCOS, {"inheriting"}),
        (ATSS, FASTER, ON_REGIONS | {"prediction_conversion"}),
        (ATSS, ATSS, {"inheriting"}),
        (ATSS, RETINANET, set()),
        (ATSS, GFL, set()),
        (GFL, CASCADE, ON_REGIONS | {"prediction_conversion"}),
        (GFL, GFL, {"inheriting"}),
        (GFL, ATSS, set()),
        (VFNET, FASTER, ON_REGIONS | {"prediction_conversion"}),
        (VFNET, VFNET, {"inheriting"}),
        (VFNET, ATSS, set()),
        (TOOD, FASTER, ON_REGIONS | {"prediction_conversion"}),
        (TOOD, TOOD, {"inheriting"}),
        (TOOD, GFL, set()),
        (RETINANET, ATSS, set()),
        (FASTER, GFL, set()),
    ],
)
def test_what_fits_a_student_and_a_teacher_of_equal_sizes(
    student: Family, teacher: Family, expected: set[str]
) -> None:
    assert PUBLISHED.intersection(fitting(of(student), of(teacher))) == ALWAYS | expected


@pytest.mark.parametrize("student", Family)
@pytest.mark.parametrize("teacher", Family)
def test_later_methods_fit_by_neck_always_and_by_scores_between_two_stage_detectors(
    student: Family, teacher: Family
) -> None:
    both_two_stage = {student, teacher} <= {FASTER, MASK, CASCADE, CASCADE_MASK}
    expected = {"pkd", "dkd", "dist"} if both_two_stage else {"pkd"}

    assert {"pkd", "dkd", "dist"}.intersection(fitting(of(student), of(teacher))) == expected


def test_distributions_are_distilled_between_gfls_alone() -> None:
    fit = {(s, t) for s in Family for t in Family if misfit(MethodName.LD, of(s), of(t)) is None}

    assert fit == {(GFL, GFL)}
    assert misfit(MethodName.LD, of(ATSS)) == "ld teaches gfl students, not atss"
    assert misfit(MethodName.LD, of(GFL), of(ATSS)) == (
        "ld needs a gfl teacher for a gfl student, and this one is atss"
    )


def test_heads_are_crossed_between_one_stage_detectors_of_any_towers() -> None:
    one_stage = {RETINANET, FCOS, ATSS, GFL, VFNET}  # TOOD has one tower for classes and boxes
    fit = {
        (s, t) for s in Family for t in Family if misfit(MethodName.CROSSKD, of(s), of(t)) is None
    }

    assert fit == {(student, teacher) for student in one_stage for teacher in one_stage}
    options = CrosskdOptions(teacher_convs=2)
    shallow = of(GFL, tower_convs=1)
    assert misfit(MethodName.CROSSKD, shallow, of(GFL), options) is None
    assert misfit(MethodName.CROSSKD, of(GFL), shallow, options) == (
        "crosskd with teacher_convs=2 needs a teacher whose towers have as many convolutions, and "
        "this one has 1"
    )
    assert misfit(MethodName.CROSSKD, of(TOOD)) == (
        "crosskd teaches atss or fcos or gfl or retinanet or vfnet students, not tood"
    )
    assert "the teacher's head has other layers" in str(
        misfit(MethodName.CROSSKD, of(GFL), replace(of(RETINANET), head=()))
    )


def test_predictions_are_compared_place_by_place_where_cells_have_the_same_places() -> None:
    single = {FCOS, ATSS, GFL, VFNET, TOOD}
    fit = {(s, t) for s in Family for t in Family if misfit(MethodName.BCKD, of(s), of(t)) is None}

    assert fit == {(s, t) for s in single for t in single} | {(RETINANET, RETINANET)}
    assert misfit(MethodName.BCKD, of(GFL), of(ATSS, anchor_scale=4)) is None
    assert misfit(MethodName.BCKD, of(GFL), of(RETINANET)) == (
        "bckd compares predictions place by place, and needs a teacher with the student's anchors, "
        "or both with one anchor or point in a cell; anchors (width, height in pixels): 5 of the "
        "student, 45 of the teacher"
    )
    other = str(misfit(MethodName.BCKD, of(RETINANET), of(RETINANET, anchor_scale=8)))
    assert other.startswith("bckd compares predictions place by place")
    assert "the teacher's head has other layers" in str(
        misfit(MethodName.BCKD, of(GFL), replace(of(ATSS), head=()))
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"strides": (4, 8, 16, 32, 64)},
            "ld compares predictions cell by cell, on the levels of the student's neck: the student"
            " has 5, at strides 8, 16, 32, 64, 128, the teacher 5, at strides 4, 8, 16, 32, 64",
        ),
        (
            {"geometry": HeadGeometry(largest_distance=8)},
            "ld needs a teacher whose head means the same; strides of the longest distance in a "
            "distribution: 16 of the student, 8 of the teacher",
        ),
    ],
    ids=["levels", "distances"],
)
def test_distributions_over_other_distances_or_at_other_cells_are_not_compared(
    changes: dict[str, Any], reason: str
) -> None:
    assert misfit(MethodName.LD, of(GFL), replace(of(GFL), **changes)) == reason


def test_teachers_that_see_other_cells_are_refused_by_what_compares_them() -> None:
    small, large = Resolution(64, 64), Resolution(128, 128)

    check_grid([MethodName.LD], [small], None)
    check_grid([MethodName.LD], [large], large)
    check_grid([MethodName.CWD], [small], large)
    with pytest.raises(InvalidValueError, match="128x128 the teacher has other cells than a stud"):
        check_grid([MethodName.CWD, MethodName.LD], [large, small], large)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (FASTER, ON_REGIONS | {"classification"} | ON_BOXES | WITH_THE_SAME_HEAD),
        (CASCADE, ON_REGIONS | {"classification"} | WITH_THE_SAME_HEAD),
        (RETINANET, ON_REGIONS | {"prediction_conversion", "inheriting"}),
        (FCOS, ON_REGIONS | {"prediction_conversion", "inheriting"}),
        (ATSS, ON_REGIONS | {"prediction_conversion", "inheriting"}),
        (GFL, ON_REGIONS | {"prediction_conversion", "inheriting"}),
        (VFNET, ON_REGIONS | {"prediction_conversion", "inheriting"}),
        (TOOD, ON_REGIONS | {"prediction_conversion", "inheriting"}),
    ],
)
def test_what_fits_a_student_whatever_its_teacher(family: Family, expected: set[str]) -> None:
    # head_transfer needs a two-stage student, inheriting any.
    assert PUBLISHED.intersection(fitting(of(family))) == ALWAYS | expected


@pytest.mark.parametrize("name", sorted(ON_REGIONS))
@pytest.mark.parametrize("teacher", [RETINANET, FCOS, ATSS, GFL, VFNET, TOOD])
def test_distilling_regions_by_a_one_stage_teacher_is_refused(name: str, teacher: Family) -> None:
    expected = (
        f"{name} needs a {TWO_STAGE} teacher for a faster_rcnn student, and this one is {teacher}"
    )

    assert misfit(MethodName(name), of(FASTER), of(teacher)) == expected


@pytest.mark.parametrize(
    ("name", "student", "expected"),
    [
        (
            "classification",
            FCOS,
            f"teaches {TWO_STAGE} students, not fcos",
        ),
        ("classification", RETINANET, f"teaches {TWO_STAGE} students"),
        (
            "class_aware_localisation",
            CASCADE,
            "teaches faster_rcnn or mask_rcnn students, not cascade_rcnn",
        ),
        ("localisation", RETINANET, "teaches faster_rcnn or mask_rcnn students, not retinanet"),
        (
            "prediction_conversion",
            FASTER,
            "teaches atss or fcos or gfl or retinanet or tood or vfnet students, not faster_rcnn",
        ),
        (
            "classification",
            GFL,
            f"teaches {TWO_STAGE} students, not gfl",
        ),
        ("head_transfer", RETINANET, f"teaches {TWO_STAGE} students"),
    ],
)
def test_students_that_a_method_cannot_teach_are_refused_with_or_without_a_teacher(
    name: str, student: Family, expected: str
) -> None:
    for teacher in (None, of(FASTER)):
        assert expected in str(misfit(MethodName(name), of(student), teacher))


@pytest.mark.parametrize("name", sorted(WITH_THE_SAME_HEAD))
@pytest.mark.parametrize(
    ("teacher", "described"),
    [
        (of(CASCADE), "cascade_rcnn with neck 256, head 1024 and anchor scale 8"),
        (of(FASTER, head_channels=512), "faster_rcnn with neck 256, head 512 and anchor scale 8"),
        (of(FASTER, anchor_scale=4), "faster_rcnn with neck 256, head 1024 and anchor scale 4"),
        (of(FASTER, neck_channels=320), "faster_rcnn with neck 320, head 1024"),
        (pool(256, 320), "faster_rcnn with neck 256 or 320, head 1024"),
    ],
    ids=["family", "head width", "anchors", "neck", "pool with several necks"],
)
def test_transfer_from_another_head_is_refused_with_both_heads_named(
    name: str, teacher: Traits, described: str
) -> None:
    reason = str(misfit(MethodName(name), of(FASTER), teacher))

    assert reason.startswith(f"{name} needs a teacher with the student's head")
    assert "the student is faster_rcnn with neck 256, head 1024 and anchor scale 8" in reason
    assert described in reason.split("the teacher")[-1]


def test_transfer_from_a_pool_whose_neck_has_the_students_width_fits() -> None:
    assert misfit(MethodName.HEAD_TRANSFER, of(FASTER), pool(256)) is None


def test_one_stage_heads_are_described_by_their_towers() -> None:
    reason = str(misfit(MethodName.INHERITING, of(FCOS), of(FCOS, tower_convs=2)))

    assert "the student is fcos with neck 256, head 256x4 and anchor scale 8" in reason
    assert "the teacher fcos with neck 256, head 256x2 and anchor scale 8" in reason


def test_a_mask_of_anchors_needs_a_student_with_anchors() -> None:
    name, options = MethodName.FEATURE_IMITATION, FeatureImitationOptions(mask="anchor")

    assert misfit(name, of(RETINANET), of(FCOS), options) is None
    assert misfit(name, of(GFL), of(FCOS), options) is None
    assert misfit(name, of(FCOS), of(FASTER), FeatureImitationOptions(mask="gaussian")) is None
    assert misfit(name, of(FCOS), None, options) == (
        "feature_imitation with mask=anchor teaches atss or cascade_mask_rcnn or cascade_rcnn or "
        "faster_rcnn or gfl or mask_rcnn or retinanet or tood or vfnet students, not fcos, which "
        "has no anchors"
    )


def test_search_for_a_student_without_anchors_may_not_ask_for_their_mask() -> None:
    methods = [{"name": "feature_imitation", "options": {"mask": "anchor"}}]
    search = {
        "name": "s",
        "dataset": "d",
        "pool": "p",
        "head": {"family": "fcos"},
        "distillation": {"methods": methods},
    }

    with pytest.raises(ValidationError, match="fcos, which has no anchors; what fits this student"):
        SearchSpec.model_validate(search)


def test_refusal_says_what_would_fit_the_pair() -> None:
    methods = {MethodName.CWD: None, MethodName.SGFI: None, MethodName.CKD: None}

    with pytest.raises(InvalidValueError) as refused:
        check_fit(methods, of(RETINANET), of(FCOS))

    reason, _, fit = str(refused.value).partition("; what fits this pair: ")
    assert reason == (
        f"sgfi needs a {TWO_STAGE} teacher for a retinanet student, and this one is fcos"
    )
    assert [name for name in fit.split(", ") if name in PUBLISHED] == [
        "feature_matching",
        "feature_imitation",
        "icd",
        "dicod_classification",
        "dicod_localisation",
        "cwd",
        "fgd",
        "mgd",
    ]


def test_refusal_says_what_would_fit_the_student_when_there_is_no_teacher_yet() -> None:
    with pytest.raises(InvalidValueError, match=r"not fcos; what fits this student: .*sgfi, ckd"):
        check_fit(dict.fromkeys(JOINT_DETNAS), of(FCOS))


def test_methods_that_fit_pass() -> None:
    check_fit(dict.fromkeys(JOINT_DETNAS), of(FASTER), pool(256, 320))
    check_fit({}, of(FCOS), of(RETINANET))


def test_every_method_is_described_and_has_options_with_defaults_but_for_required_ones() -> None:
    assert list(CATALOGUE) == list(MethodName)
    for name, method in CATALOGUE.items():
        assert method.title, name
        assert method.students, name
        assert method.teachers, name
        required = {"classifier": "imagenet"} if name in BY_A_CLASSIFIER else {}
        assert {f.name for f in fields(method.options(**required))} >= set(required)


def test_only_what_a_method_reads_of_its_teacher_is_run() -> None:
    silent = {name.value for name, method in CATALOGUE.items() if not method.reads_teacher}
    assert silent & PUBLISHED == BY_A_CLASSIFIER | WITH_THE_SAME_HEAD
    on_neck = {n.value for n, m in CATALOGUE.items() if m.reads_teacher == {Tap.NECK}}
    assert on_neck & PUBLISHED == ON_THE_NECK


@pytest.mark.parametrize(
    ("name", "two_stage", "one_stage"),
    [
        ("feature_matching", 5.0, 5.0),
        ("classification", 3.0, 3.0),
        ("feature_imitation", 0.1, 0.1),
        ("icd", 3.0, 6.0),
        ("cwd", 5.0, 5.0),
        ("ckd", 1.0, 1.0),
        ("dicod_classification", 0.4, 0.4),
    ],
)
def test_default_weights(name: str, two_stage: float, one_stage: float) -> None:
    assert default_weight(MethodName(name), two_stage=True) == two_stage
    assert default_weight(MethodName(name), two_stage=False) == one_stage


def test_only_feature_matching_teaches_by_averaged_features() -> None:
    check_average([MethodName.FEATURE_MATCHING])

    for name in set(MethodName) - {MethodName.FEATURE_MATCHING}:
        with pytest.raises(
            InvalidValueError, match=f"{name} cannot teach by average_features, only feature_match"
        ):
            check_average([MethodName.FEATURE_MATCHING, name])


@pytest.mark.parametrize(
    ("options", "values", "message"),
    [
        (SgfiOptions, {"initial_temperature": 0}, "initial_temperature=0 must be positive"),
        (CkdOptions, {"temperature": -1}, "temperature=-1 must be positive"),
        (CkdOptions, {"projection_channels": 0}, "projection_channels=0 must be positive"),
        (CkdOptions, {"queue_size": -1}, "queue_size=-1 must be at least 0"),
        (CkdOptions, {"iou_threshold": 1.5}, "iou_threshold=1.5 must lie between 0 and 1"),
        (IcdOptions, {"num_heads": 3}, "num_heads=3 must divide 256"),
        (IcdOptions, {"max_instances": 0}, "max_instances=0 must be at least 1"),
        (CwdOptions, {"temperature": 0}, "temperature=0 must be positive"),
        (FgdOptions, {"relation": -1}, "relation=-1 must be at least 0"),
        (MgdOptions, {"masked_fraction": 2}, "masked_fraction=2 must lie between 0 and 1"),
        (
            DicodClassificationOptions,
            {"classifier": "x", "temperature": 0},
            "temperature=0 must be positive",
        ),
        (
            DicodLocalisationOptions,
            {"classifier": "x", "crop_pooling": 0},
            "crop_pooling=0 must be positive",
        ),
        (
            DicodLocalisationOptions,
            {"classifier": "x", "crop_weight": 0, "feature_weight": 0},
            "crop_weight and feature_weight must not both be 0",
        ),
    ],
)
def test_options_out_of_range_are_refused(
    options: type, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        options(**values)


def test_options_may_be_left_to_the_students_kind_of_head() -> None:
    assert FgdOptions().relation is None
    assert MgdOptions(scale=0.5).scale == 0.5
    assert IcdOptions(max_instances=7).max_instances == 7


def test_published_defaults_of_g_detkd() -> None:
    assert CkdOptions() == CkdOptions(
        temperature=0.07, projection_channels=128, queue_size=81_920, iou_threshold=0.5
    )
    assert SgfiOptions() == SgfiOptions(adapter_kernel=1, initial_temperature=1.0)
