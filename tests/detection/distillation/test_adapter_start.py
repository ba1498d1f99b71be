"""New linear adapters start by least squares, once, and the teacher's variance is measured."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detection.data.batches import Batch
from detection.data.coco import CocoSplit
from detection.distillation.adapter_start import AdapterStart
from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import TeacherVariance, in_deviations
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import student_step
from detection.training import Training
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec, TrainingSpec
from tests.detection.distillation.every_method import student_for, teacher_for

pytestmark = pytest.mark.timeout(60)

LINEAR = (
    MethodName.PROPOSAL_FEATURE,
    MethodName.FEATURE_MATCHING,
    MethodName.FEATURE_IMITATION,
    MethodName.SGFI,
    MethodName.CWD,
    MethodName.FGD,
    MethodName.MGD,
)
SPEC = TrainingSpec(
    epochs=1, batch_size=4, learning_rate=0.01, resolutions=(Resolution(64, 64),), max_grad_norm=5
)


def distiller_of(
    student: Any,
    teachers: Sequence[nn.Module],
    split: CocoSplit,
    *methods: MethodSpec,
    widest: int | None = None,
) -> Distiller:
    torch.manual_seed(5)
    pairs = [pair_of(student, each, split, max_teacher_channels=widest) for each in teachers]
    return Distiller(methods, teachers, pairs)


def training_of(
    name: MethodName, split: CocoSplit, *, neck: int = 12, **options: Any
) -> tuple[Training, Distiller]:
    student = student_for(name)
    spec = MethodSpec(name=name, options=options)
    distiller = distiller_of(student, [teacher_for(3, neck)], split, spec)
    return Training(student, split, SPEC, seed=0, distiller=distiller), distiller


def started(name: MethodName, split: CocoSplit, **options: Any) -> tuple[Training, Distiller]:
    training, distiller = training_of(name, split, **options)
    for _ in training.start_adapters():
        pass
    return training, distiller


def errors(training: Training, distiller: Distiller, name: MethodName) -> list[float]:
    """The squared error at each place of the first batch, that the adapter leaves."""
    batch: Batch = training.batches.batch(0)
    torch.manual_seed(training.seed_of(0))
    training.model.train()
    with torch.no_grad():
        ((methods, teacher),) = distiller.sets(student_step(training.model, batch).taps, None)
        taps = student_step(training.model, batch).taps
        ((methods, teacher),) = distiller.sets(taps, None)
        places = methods[name].compared(taps, teacher).values()
        return [
            float((each.adapter(each.student, each.teacher.shape[1]) - each.teacher).square().mean())
            for each in places
            if each.adapter is not None
        ]


@pytest.mark.parametrize("name", LINEAR)
def test_a_fitted_adapter_leaves_a_smaller_error_than_a_random_one(
    name: MethodName, shapes: CocoSplit
) -> None:
    random = errors(*training_of(name, shapes), name)
    training, distiller = started(name, shapes)
    fitted = errors(training, distiller, name)
    assert sum(fitted) < 0.5 * sum(random)
    assert training.start_notes[0].startswith(f"{name}: new adapters start by least squares and")
