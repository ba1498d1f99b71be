"""Several teachers in one step: the mean of their losses, or one loss against their mean."""

from typing import Any

import pytest
import torch

from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.simultaneous import AverageTaps
from detection.distillation.student import student_step
from detection.distillation.taps import TeacherTaps
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_description import Tap
from searchd.domain.resolution import Resolution
from searchd.domain.teacher import Definition
from searchd.spec import MethodSpec
from tests.detection.distillation.crop_classifier import stored
from tests.detection.distillation.every_method import (
    RANDOM,
    WITHOUT_LOSS,
    method_of,
    neck_gradients,
    student_for,
    teacher_for,
    teaching_family,
)

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

MATCHING = MethodSpec(name=MethodName.FEATURE_MATCHING, weight=0.8)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    return stored(tmp_path_factory.mktemp("classifier"))


def distiller(
    student: Any,
    teachers: list[Any],
    split: CocoSplit,
    *methods: MethodSpec,
    definition: Definition = "mean_of_losses",
) -> Distiller:
    """By feature matching, unless methods are given; with the same adapters every time."""
    pairs = [pair_of(student, teacher, split) for teacher in teachers]
    torch.manual_seed(5)
    return Distiller(methods or (MATCHING,), teachers, pairs, definition)


@pytest.mark.parametrize("teachers_size", [64, 96, 160])
def test_both_definitions_have_one_gradient_when_widths_are_equal(
    teachers_size: int, student: Any, shapes: CocoSplit, batch: Batch
) -> None:
    teachers = [teacher_for(seed) for seed in (2, 3, 4)]
    taps = student_step(student, batch).taps
    resolution, flips = Resolution(teachers_size, teachers_size), [False, True, False, True]
    seen = make_batch(shapes, [0, 1, 2, 3], resolution, flips)

    mean = distiller(student, teachers, shapes)(taps, seen)["feature_matching"]
    average = distiller(student, teachers, shapes, definition="average_features")(taps, seen)[
        "feature_matching"
    ]

    for one, other in zip(neck_gradients(mean, taps), neck_gradients(average, taps), strict=True):
        torch.testing.assert_close(one, other)
        assert one.any()
    necks = [
        TeacherTaps(teacher, taps, frozenset({Tap.NECK}), seen).own_neck for teacher in teachers
    ]
    variance = torch.stack(
        [torch.stack([n[s] for n in necks]).var(dim=0, correction=0).mean() for s in taps.neck]
    ).mean()
    assert variance > 0
    torch.testing.assert_close(mean, average + 0.8 * variance)  # its weight


def test_the_papers_sum_of_losses_is_the_mean_times_the_number_of_teachers(
    student: Any, shapes: CocoSplit, batch: Batch
) -> None:
    teachers = [teacher_for(seed) for seed in (2, 3, 4)]
    taps = student_step(student, batch).taps

    one_each = [distiller(student, [t], shapes)(taps)["feature_matching"] for t in teachers]
    average = distiller(student, teachers, shapes, definition="average_features")(taps)

    of_sum = neck_gradients(torch.stack(one_each).sum(), taps)
    of_average = neck_gradients(average["feature_matching"], taps)
    for one, other in zip(of_sum, of_average, strict=True):
        torch.testing.assert_close(one, 3 * other)


def test_teachers_may_have_other_widths_and_levels_and_have_adapters_of_their_own(
    student: Any, shapes: CocoSplit, batch: Batch
) -> None:
    teachers = [teacher_for(2, 24), teacher_for(3, 20, Family.RETINANET)]
    both = distiller(student, teachers, shapes)
    taps = student_step(student, batch).taps

    loss = both(taps)["feature_matching"]
    loss.backward()

    shapes_of = {
        name: value.shape[0] for name, value in both.state_dict().items() if "weight" in name
    }
    prefix = "feature_matching.adapters.convs"
    assert shapes_of == {f"0.{prefix}.{s}.weight": 24 for s in (4, 8, 16, 32, 64)} | {
        f"1.{prefix}.{s}.weight": 20 for s in (8, 16, 32, 64)
    }
    assert all(p.grad is not None and p.grad.any() for p in both.parameters())
    assert all(p.grad is None for teacher in teachers for p in teacher.parameters())


@pytest.mark.parametrize("teachers_size", [64, 160])
def test_averaged_features_are_read_on_either_grid(
    teachers_size: int, student: Any, shapes: CocoSplit, batch: Batch
) -> None:
    taps = student_step(student, batch).taps
    resolution, flips = Resolution(teachers_size, teachers_size), [False, True, False, True]
    seen = make_batch(shapes, [0, 1, 2, 3], resolution, flips)
    one, other = (
        TeacherTaps(teacher_for(seed).eval(), taps, frozenset({Tap.NECK}), seen) for seed in (2, 3)
    )

    average = AverageTaps([one, other])

    assert average.own_neck[4].shape[-1] == teachers_size // 4
    for stride, level in taps.neck.items():
        assert average.neck[stride].shape == level.shape
        torch.testing.assert_close(
            average.own_neck[stride], (one.own_neck[stride] + other.own_neck[stride]) / 2
        )
        torch.testing.assert_close(
            average.neck[stride], (one.neck[stride] + other.neck[stride]) / 2
        )


def test_averaged_features_share_one_adapter_and_the_levels_that_all_have(
    student: Any, shapes: CocoSplit, batch: Batch
) -> None:
    teachers = [teacher_for(2, 24), teacher_for(3, 24, Family.RETINANET)]
    average = distiller(student, teachers, shapes, definition="average_features")
    taps = student_step(student, batch).taps

    average(taps)["feature_matching"].backward()

    weights = [name for name in average.state_dict() if "weight" in name]
    assert weights == [f"feature_matching.adapters.convs.{s}.weight" for s in (8, 16, 32, 64)]
    assert all(p.grad is not None and p.grad.any() for p in average.parameters())


@pytest.mark.parametrize("name", sorted(set(MethodName) - WITHOUT_LOSS))
def test_any_methods_loss_is_the_mean_of_its_losses_with_each_teacher(
    name: MethodName, classifier: str, shapes: CocoSplit, batch: Batch
) -> None:
    student, spec = student_for(name), method_of(name, classifier)
    family = teaching_family(name)
    teachers = [teacher_for(2, 16, family), teacher_for(3, 24, family)]
    taps = student_step(student, batch).taps

    both = distiller(student, teachers, shapes, spec)
    losses = both(taps)

    torch.stack(list(losses.values())).sum().backward(retain_graph=True)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in both.parameters())
    assert student.backbone.conv1.weight.grad.any()
    if name not in RANDOM:
        singles = [distiller(student, [teacher], shapes, spec) for teacher in teachers]
        for number, single in enumerate(singles):
            start = f"{number}."
            single.load_state_dict(
                {
                    key.removeprefix(start): value
                    for key, value in both.state_dict().items()
                    if key.startswith(start)
                }
            )
        alone = [single(taps)[name.value] for single in singles]
        torch.testing.assert_close(losses[name.value], (alone[0] + alone[1]) / 2)


def test_the_first_teacher_gives_its_head(student: Any, shapes: CocoSplit) -> None:
    teachers = [teacher_for(2), teacher_for(3)]
    methods = [MethodSpec(name=MethodName.HEAD_TRANSFER)]

    frozen = distiller(student, teachers, shapes, *methods).prepare(student)

    assert frozen == (student.rpn_head, student.roi_head)
    given = teachers[0].roi_head.state_dict()
    assert all(torch.equal(v, given[k]) for k, v in student.roi_head.state_dict().items())


def test_each_teachers_decoder_has_an_optimizer_of_its_own(student: Any, shapes: CocoSplit) -> None:
    spec = MethodSpec(name=MethodName.ICD, options={"decoder_only_iterations": 3})
    both = distiller(student, [teacher_for(2), teacher_for(3)], shapes, spec)

    own = both.own_optimizers(10)

    assert list(own) == ["icd.0", "icd.1"]
    owned = [id(p) for optimizer in own.values() for p in optimizer.parameters]
    assert sorted(owned) == sorted(id(p) for p in both.parameters())
    assert both.preparation_iterations == 3


def test_each_teachers_backbone_runs_once_and_no_head(
    student: Any, shapes: CocoSplit, batch: Batch
) -> None:
    teachers, runs = [teacher_for(2), teacher_for(3, 16, Family.RETINANET)], []
    for teacher in teachers:
        teacher.backbone.register_forward_hook(lambda module, *_: runs.append(module))
    for head in (teachers[0].rpn_head, teachers[0].roi_head.bbox_head, teachers[1].bbox_head):
        head.register_forward_pre_hook(_must_not_run)
    taps = student_step(student, batch).taps
    methods = [MATCHING, MethodSpec(name=MethodName.CWD)]

    distiller(student, teachers, shapes, *methods)(taps)
    distiller(student, teachers, shapes, definition="average_features")(taps)

    assert runs == [teacher.backbone for teacher in teachers] * 2


@pytest.mark.parametrize("definition", ["mean_of_losses", "average_features"])
def test_one_teacher_in_a_list_is_that_teacher(
    definition: Definition, student: Any, shapes: CocoSplit, batch: Batch
) -> None:
    teacher = teacher_for(2, 24)
    torch.manual_seed(5)
    alone = Distiller((MATCHING,), teacher, pair_of(student, teacher, shapes))
    listed = distiller(student, [teacher], shapes, definition=definition)
    taps = student_step(student, batch).taps

    assert list(listed.state_dict()) == list(alone.state_dict())
    assert torch.equal(listed(taps)["feature_matching"], alone(taps)["feature_matching"])


def test_one_teachers_loss_and_gradient_are_the_methods_own_to_the_bit(
    student: Any, shapes: CocoSplit, batch: Batch
) -> None:
    teacher = teacher_for(2, 24)
    chosen = distiller(student, [teacher], shapes)
    taps = student_step(student, batch).taps
    method = chosen.methods["feature_matching"]

    theirs = method.losses(taps, TeacherTaps(teacher, taps, frozenset({Tap.NECK})))[""]
    ours = chosen(taps)["feature_matching"]

    assert torch.equal(ours, theirs)
    for one, other in zip(neck_gradients(ours, taps), neck_gradients(theirs, taps), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("channels", "families", "message"),
    [
        ((16, 24), (Family.FASTER_RCNN,) * 2, r"have \[16, 24\] channels"),
        ((24, 16), (Family.FASTER_RCNN, Family.RETINANET), r"have \[24, 16\] channels"),
    ],
)
def test_features_of_different_widths_are_not_averaged(
    channels: tuple[int, int],
    families: tuple[Family, Family],
    message: str,
    student: Any,
    shapes: CocoSplit,
) -> None:
    teachers = [
        teacher_for(seed, width, family)
        for seed, (width, family) in enumerate(zip(channels, families, strict=True))
    ]
    # The widest of the lineage is the same; it is the teachers' own widths that count.
    pairs = [pair_of(student, each, shapes, max_teacher_channels=24) for each in teachers]

    with pytest.raises(InvalidValueError, match=message):
        Distiller((MATCHING,), teachers, pairs, "average_features")


def test_features_without_a_common_level_are_not_averaged(student: Any, shapes: CocoSplit) -> None:
    teachers = [teacher_for(2), teacher_for(3)]
    for teacher, strides in zip(teachers, ([(4, 4)], [(8, 8)]), strict=True):
        teacher.rpn_head.prior_generator.strides = strides

    with pytest.raises(InvalidValueError, match=r"have strides \[\(4,\), \(8,\)\]"):
        distiller(student, teachers, shapes, definition="average_features")


def test_only_feature_matching_teaches_by_averaged_features(
    student: Any, shapes: CocoSplit
) -> None:
    methods = [MATCHING, MethodSpec(name=MethodName.CWD)]

    with pytest.raises(InvalidValueError, match="cwd cannot teach by average_features"):
        distiller(
            student,
            [teacher_for(2), teacher_for(3)],
            shapes,
            *methods,
            definition="average_features",
        )


def _must_not_run(*_: Any) -> None:
    raise AssertionError("this part was not asked for")
