"""Training under several teachers, and under teachers that see the images at another size."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.training import Training
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import JOINT_DETNAS, MethodName
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec, MethodSpec, TrainingSpec
from tests.detection.distillation.conftest import tiny

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

LOW, HIGH = Resolution(32, 32), Resolution(64, 64)
SPEC = TrainingSpec(
    epochs=2, batch_size=2, learning_rate=0.02, resolutions=(LOW, Resolution(48, 48))
)
METHODS = (MethodName.FEATURE_MATCHING, MethodName.ICD, *JOINT_DETNAS)
"""On necks and on regions, with an optimizer of its own and without."""


def detector(seed: int, neck_channels: int = 16, family: Family = Family.FASTER_RCNN) -> Any:
    torch.manual_seed(seed)
    return tiny("resnet18", neck_channels, family)


def distiller(
    shapes: CocoSplit,
    teachers: Sequence[Any],
    names: Sequence[MethodName] = METHODS,
    **matching: Any,
) -> Distiller:
    """Of a student with 16 neck channels; ICD prepares itself for an iteration.

    Args:
        matching: Options of feature_matching.
    """
    pairs = [pair_of(detector(1), teacher, shapes) for teacher in teachers]
    options: dict[MethodName, Any] = {
        MethodName.ICD: {"decoder_only_iterations": 1},
        MethodName.FEATURE_MATCHING: matching,
    }
    methods = [MethodSpec(name=name, options=options.get(name, {})) for name in names]
    torch.manual_seed(5)
    return Distiller(methods, teachers, pairs)


def two_teachers() -> list[Any]:
    return [detector(2, 24), detector(3, 20)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, num_train=6, num_validation=1, image_size=64)


@pytest.fixture(scope="module")
def shapes(data: DatasetSpec) -> CocoSplit:
    return CocoSplit(data.train)


def test_the_teacher_sees_the_students_images_at_its_own_size(shapes: CocoSplit) -> None:
    student, teachers = detector(1), two_teachers()
    seen: list[tuple[str, Tensor]] = []
    for name, model in (("student", student), ("teacher", teachers[0]), ("teacher", teachers[1])):
        model.backbone.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.append((name, inputs[0]))
        )
    training = Training(
        student,
        shapes,
        SPEC,
        seed=0,
        distiller=distiller(shapes, teachers, [MethodName.FEATURE_MATCHING]),
        teacher_resolution=HIGH,
    )

    for _ in training.start_adapters():
        pass
    seen.clear()

    next(training.run())

    own, high = training.batches.views(0, HIGH)
    assert [name for name, _ in seen] == ["student", "teacher", "teacher"]
    assert torch.equal(seen[0][1], own.inputs)
    assert torch.equal(seen[1][1], high.inputs)
    assert seen[2][1] is seen[1][1]


def test_a_student_at_half_its_teachers_size_learns_to_match_it(shapes: CocoSplit) -> None:
    spec = TrainingSpec(epochs=8, batch_size=2, learning_rate=0.02, resolutions=(LOW,))
    chosen = distiller(shapes, [detector(2)], [MethodName.FEATURE_MATCHING])
    assert list(chosen.parameters()) == []  # it is the student that comes near

    training = Training(
        detector(1), shapes, spec, seed=0, distiller=chosen, teacher_resolution=HIGH
    )
    losses = [done.losses["feature_matching"] for done in training.run()]

    assert np.mean(losses[-4:]) < 0.6 * np.mean(losses[:4])


def test_several_teachers_are_all_come_near(shapes: CocoSplit) -> None:
    spec = TrainingSpec(epochs=16, batch_size=2, learning_rate=0.02, resolutions=(LOW,))
    teachers = [detector(2, 24), detector(3, 20, Family.RETINANET)]
    # From random adapters, since fitted ones begin near where such a short training ends.
    chosen = distiller(shapes, teachers, [MethodName.FEATURE_MATCHING], start="random")

    training = Training(detector(1), shapes, spec, seed=0, distiller=chosen)
    losses = [done.losses["feature_matching"] for done in training.run()]

    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])


def test_a_teacher_at_the_students_size_teaches_as_without_one_being_named(
    shapes: CocoSplit,
) -> None:
    spec = SPEC.model_copy(update={"resolutions": (HIGH,)})

    def losses(resolution: Resolution | None) -> list[dict[str, float]]:
        training = Training(
            detector(1),
            shapes,
            spec,
            seed=0,
            distiller=distiller(shapes, [detector(2, 24)]),
            teacher_resolution=resolution,
        )
        return [done.losses for done in islice(training.run(), 3)]

    assert losses(HIGH) == losses(None)
    assert losses(LOW) != losses(None)


def test_switched_off_distillation_is_plain_training(shapes: CocoSplit) -> None:
    training = Training(
        detector(1),
        shapes,
        SPEC,
        seed=0,
        distiller=distiller(shapes, two_teachers()),
        teacher_resolution=HIGH,
    )
    assert training.undistilled_difference() == 0.0


def test_without_a_teacher_its_resolution_means_nothing(shapes: CocoSplit) -> None:
    plain, named = (
        next(Training(detector(1), shapes, SPEC, seed=0, teacher_resolution=at).run()).losses
        for at in (None, HIGH)
    )
    assert named == plain


def test_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    shapes: CocoSplit, data: DatasetSpec, tmp_path: Path
) -> None:
    def begin(seed: int = 1, split: CocoSplit = shapes) -> Training:
        chosen = distiller(shapes, two_teachers())
        return Training(
            detector(seed), split, SPEC, seed=0, distiller=chosen, teacher_resolution=HIGH
        )

    expected = [done.losses for done in begin().run()]
    first = begin()
    seen = [done.losses for done in islice(first.run(), 3)]
    torch.save(first.state_dict(), tmp_path / "resume.pt")

    second = begin(9, CocoSplit(data.train))
    second.load_state_dict(torch.load(tmp_path / "resume.pt", weights_only=True))
    torch.rand(7)  # another random state than the first run left
    seen += [done.losses for done in second.run()]

    assert len(seen) == 1 + 2 * 3
    assert seen == expected
