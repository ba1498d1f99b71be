"""DICOD's two methods in a distiller, with students of every family."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detection.crop_classifier import load
from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.distillation.crop import crop
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.recorded_calls import recorded_calls
from detection.distillation.student import student_step
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.crop_classifier import NAMES, dicod, stored
from tests.detection.distillation.teaching import student_of, train
from tests.detection.distillation.test_one_stage import ssd

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

BOTH = (MethodName.DICOD_CLASSIFICATION, MethodName.DICOD_LOCALISATION)
KINDS = (*Family, "ssd")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of one whose heads differ."""
    return stored(tmp_path_factory.mktemp("classifier"), two_heads=True)


@pytest.fixture
def methods(classifier: str) -> tuple[MethodSpec, ...]:
    return tuple(dicod(name, classifier) for name in BOTH)


def student_with(kind: str) -> Any:
    """A random student of a family, or with SSD's head: one stage and a softmax."""
    return ssd() if kind == "ssd" else student_of(Family(kind))


def distiller(methods: tuple[MethodSpec, ...], student: Any, split: CocoSplit) -> Distiller:
    teacher = tiny("resnet18", 24)
    return Distiller(methods, teacher, pair_of(student, teacher, split))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BOTH)
def test_gradient_reaches_the_student_and_not_the_classifier(
    name: MethodName, kind: str, classifier: str, shapes: CocoSplit, batch: Batch
) -> None:
    student = student_with(kind)
    chosen = distiller((dicod(name, classifier),), student, shapes)

    loss = chosen(student_step(student, batch).taps)[name.value]
    loss.backward()

    assert float(loss.detach()) > 0
    assert student.backbone.conv1.weight.grad.abs().max() > 0
    teacher = vars(chosen.methods[name.value])["_classifier"]
    assert all(parameter.grad is None for parameter in teacher._classifier.parameters())
    assert all(parameter.grad is None for parameter in chosen.teacher.parameters())


def _divergence(student: Tensor, teacher: Tensor, *, sigmoid: bool) -> float:
    """T^2 KL of one prediction, T = 2, by docs/papers.md 5.2 in NumPy."""
    s, t = student.double().numpy() / 2, teacher.double().numpy() / 2
    if not sigmoid:
        p, q = np.exp(t) / np.exp(t).sum(), np.exp(s) / np.exp(s).sum()
        return float(4 * (p * np.log(p / q[:-1])).sum())
    p, q = 1 / (1 + np.exp(-t)), 1 / (1 + np.exp(-s))
    outcomes = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return float(4 * outcomes.mean())


@pytest.mark.parametrize("kind", KINDS)
def test_every_prediction_learns_from_the_crop_of_its_own_object(
    kind: str, classifier: str, shapes: CocoSplit, batch: Batch
) -> None:
    student, teacher = student_with(kind), load(classifier).eval()
    name = MethodName.DICOD_CLASSIFICATION
    taps = student_step(student, batch).taps

    loss = distiller((dicod(name, classifier),), student, shapes)(taps)[name.value]

    found, expected = taps.matched_predictions, []
    sigmoid = kind in {family for family in Family if not family.two_stage}
    for logits, image, number in zip(found.logits, found.image, found.object, strict=True):
        box = batch.samples[int(image)].gt_instances.bboxes[[int(number)]]
        shown = crop(batch, box, image[None], 32)
        with torch.no_grad():
            wanted = teacher.logits(shown, sigmoid=sigmoid)[0]
        expected.append(_divergence(logits.detach(), wanted, sigmoid=sigmoid))
    assert len(expected) > 3
    assert float(loss.detach()) == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_classifier_sees_each_object_once(
    methods: tuple[MethodSpec, ...], shapes: CocoSplit, batch: Batch
) -> None:
    student = student_of(Family.RETINANET)
    chosen = distiller(methods[:1], student, shapes)
    taps = student_step(student, batch).taps
    teacher = vars(chosen.methods["dicod_classification"])["_classifier"]

    with recorded_calls(teacher, "logits") as calls:
        chosen(taps)

    num_objects = sum(len(sample.gt_instances) for sample in batch.samples)
    # RetinaNet gives every object an anchor.
    assert [len(call.args[0]) for call in calls] == [num_objects]
    assert len(taps.matched_predictions.object) > num_objects


def test_the_classifier_is_neither_trained_nor_stored(
    methods: tuple[MethodSpec, ...], student: Any, shapes: CocoSplit
) -> None:
    chosen = distiller(methods, student, shapes)

    assert list(chosen.parameters()) == []
    assert chosen.state_dict() == {}
    chosen.load_state_dict({})
    assert chosen.needed == frozenset()


@pytest.mark.parametrize("family", list(Family))
def test_losses_are_zero_when_no_image_has_an_object(
    methods: tuple[MethodSpec, ...],
    family: Family,
    shapes: CocoSplit,
    batch_without_objects: Batch,
) -> None:
    student = student_of(family)

    losses = distiller(methods, student, shapes)(student_step(student, batch_without_objects).taps)
    torch.stack(list(losses.values())).sum().backward()

    assert {name: float(loss.detach()) for name, loss in losses.items()} == {
        "dicod_classification": 0,
        "dicod_localisation": 0,
    }
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients
    assert not any(gradient.any() for gradient in gradients)


def test_content_of_the_padding_changes_nothing(
    methods: tuple[MethodSpec, ...], shapes: CocoSplit
) -> None:
    student = student_of(Family.RETINANET)
    chosen = distiller(methods, student, shapes)
    batch = make_batch(shapes, [0, 1], Resolution(48, 48), [False, True])
    taps = student_step(student, batch).taps
    plain = chosen(taps)

    batch.inputs[:, :, 50:] = 1e3
    batch.inputs[:, :, :, 50:] = 1e3
    again = chosen(taps)

    assert tuple(batch.inputs.shape[-2:]) == (64, 64)
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_losses_add_to_other_methods(
    methods: tuple[MethodSpec, ...], student: Any, shapes: CocoSplit, batch: Batch
) -> None:
    taps = student_step(student, batch).taps
    other = MethodSpec(name=MethodName.CLASSIFICATION)
    teacher = tiny("resnet18", 24)
    pair = pair_of(student, teacher, shapes)

    together = Distiller((*methods, other), teacher, pair)(taps)

    alone = Distiller(methods, teacher, pair)(taps) | Distiller((other,), teacher, pair)(taps)
    assert set(together) == {"dicod_classification", "dicod_localisation", "classification"}
    for name, loss in alone.items():
        torch.testing.assert_close(together[name], loss)


@pytest.mark.parametrize("family", list(Family))
def test_training_by_scores_lowers_their_loss(
    family: Family, classifier: str, shapes: CocoSplit
) -> None:
    name, student = MethodName.DICOD_CLASSIFICATION, student_of(family)
    chosen = distiller((dicod(name, classifier),), student, shapes)

    num_steps = 24 if family is Family.RETINANET else 14
    history = train(student, shapes, num_steps, chosen, detection_losses=False)[name.value]

    assert np.mean(history[-4:]) < 0.7 * np.mean(history[:4])


@pytest.mark.parametrize("family", [Family.FASTER_RCNN, Family.RETINANET, Family.FCOS])
def test_training_by_crops_lowers_their_loss(
    family: Family, classifier: str, shapes: CocoSplit
) -> None:
    name, student = MethodName.DICOD_LOCALISATION, student_of(family)
    if family is Family.FASTER_RCNN:
        # Its positives are few and near their objects: so it starts beside its proposals.
        torch.nn.init.constant_(student.roi_head.bbox_head.fc_reg.bias, 1)
        num_steps = 24
    else:
        train(student, shapes, 16)
        num_steps = 48
    chosen = distiller((dicod(name, classifier),), student, shapes)

    history = train(student, shapes, num_steps, chosen, detection_losses=False)[name.value]

    assert np.mean(history[-8:]) < 0.96 * np.mean(history[:8])


def test_the_student_keeps_its_shape_in_training_by_both(
    methods: tuple[MethodSpec, ...], shapes: CocoSplit
) -> None:
    student = student_of(Family.FASTER_RCNN)

    losses = train(student, shapes, 3, distiller(methods, student, shapes))

    assert {"dicod_classification", "dicod_localisation", "loss_cls"} <= set(losses)
    trained = {key: tuple(value.shape) for key, value in student.state_dict().items()}
    fresh = student_of(Family.FASTER_RCNN).state_dict()
    assert trained == {key: tuple(value.shape) for key, value in fresh.items()}


@pytest.mark.parametrize("name", BOTH)
def test_a_classifier_of_other_classes_is_refused(
    name: MethodName, student: Any, shapes: CocoSplit, tmp_path: Path
) -> None:
    fewer = stored(tmp_path / "fewer", names=NAMES[:3])
    others = stored(tmp_path / "others", names=(*NAMES[:3], "dog"))

    with pytest.raises(InvalidValueError, match="has 3 classes and the student has 4"):
        distiller((dicod(name, fewer),), student, shapes)
    with pytest.raises(InvalidValueError, match="triangle, dog, and the student .* cross"):
        distiller((dicod(name, others),), student, shapes)


@pytest.mark.parametrize(
    ("family", "losses"), [(Family.FASTER_RCNN, "focal"), (Family.FCOS, "softmax")]
)
def test_a_classifier_for_other_heads_is_refused(
    family: Family, losses: str, shapes: CocoSplit, batch: Batch, tmp_path: Path
) -> None:
    student = student_of(family)
    folder = stored(tmp_path, losses=losses)
    chosen = distiller((dicod(MethodName.DICOD_CLASSIFICATION, folder),), student, shapes)

    with pytest.raises(InvalidValueError, match="cannot teach a student with a"):
        chosen(student_step(student, batch).taps)
