"""Predicted crops that are to look like the object's: values, and descent onto the object."""

from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional

from detection.crop_classifier import ClassifierTeacher, CropClassifier
from detection.data.batches import Batch
from detection.distillation.dicod_localisation import DicodLocalisation, pooled_difference
from detection.distillation.taps import MatchedPredictions
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_options import DicodLocalisationOptions
from searchd.domain.resolution import Resolution
from searchd.spec.classifier import ClassifierSpec
from tests.detection.distillation.known import taps

OBJECT = [20.0, 16.0, 44.0, 40.0]


@pytest.fixture
def classifier() -> CropClassifier:
    torch.manual_seed(0)
    spec = ClassifierSpec(backbone="resnet18", base_channels=8, input_size=32)
    return CropClassifier(spec, ("thing",))


@pytest.fixture
def textured() -> Batch:
    """One image of 64x64 pixels with smooth random texture, and one object."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, 8, 8, generator=generator)
    inputs = functional.interpolate(coarse, (64, 64), mode="bicubic", align_corners=False)
    sample = DetDataSample(metainfo={"img_shape": (64, 64), "batch_input_shape": (64, 64)})
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([OBJECT]), labels=torch.zeros(1, dtype=torch.long)
    )
    return Batch(inputs=inputs, samples=[sample], indices=(0,), resolution=Resolution(64, 64))


def student_of(batch: Batch, boxes: Tensor) -> Any:
    """Taps with these predicted boxes of the one object."""
    zeros = torch.zeros(len(boxes), dtype=torch.long)
    predictions = MatchedPredictions(
        logits=torch.zeros(len(boxes), 2), boxes=boxes, image=zeros, object=zeros
    )
    return taps(batch=batch, matched_predictions=predictions)


def method(classifier: CropClassifier, **options: Any) -> DicodLocalisation:
    defaults: dict[str, Any] = {"classifier": "", "crop_size": 32}
    return DicodLocalisation(
        ClassifierTeacher(classifier), DicodLocalisationOptions(**(defaults | options))
    )


def pool(values: Any, size: int) -> Any:
    """Adaptive average pooling in NumPy, of sides that `size` divides."""
    m, c, height, width = values.shape
    return values.reshape(m, c, size, height // size, size, width // size).mean(axis=(3, 5))


def test_difference_equals_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(3, 2, 8, 8, generator=generator, dtype=torch.float64)
    wanted = torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64)

    difference = pooled_difference(predicted, wanted)

    reference = np.abs(pool(predicted.numpy(), 4) - wanted.numpy()).sum() / (3 * 2 * 4 * 4)
    assert float(difference) == pytest.approx(reference, rel=1e-12)


def test_loss_is_the_sum_of_crop_and_feature_terms(
    classifier: CropClassifier, textured: Batch
) -> None:
    """Boxes of the crops' size are slices, so that the reference needs no resizing."""
    boxes = torch.tensor([[22.0, 14, 46, 38], [18.0, 20, 42, 44]])
    image, weight = textured.inputs[0], classifier.backbone.conv1.weight.detach()
    predicted = torch.stack([image[:, 14:38, 22:46], image[:, 20:44, 18:42]])
    wanted = image[None, :, 16:40, 20:44].expand(2, -1, -1, -1)

    def features(crops: Tensor) -> Any:
        return functional.conv2d(crops, weight, stride=2, padding=3).numpy()

    def loss(**weights: float) -> float:
        chosen = method(classifier, crop_size=24, feature_pooling=6, **weights)
        return float(chosen(student_of(textured, boxes), taps()))

    crops = float(np.abs(pool(predicted.numpy(), 4) - pool(wanted.numpy(), 4)).mean())
    first = float(np.abs(pool(features(predicted), 6) - pool(features(wanted), 6)).mean())
    assert loss(feature_weight=0) == pytest.approx(crops, rel=1e-4)
    assert loss(crop_weight=0) == pytest.approx(first, rel=1e-4)
    assert loss() == pytest.approx(crops + first, rel=1e-4)
    assert loss(crop_weight=2, feature_weight=3) == pytest.approx(2 * crops + 3 * first, rel=1e-4)


def test_published_options_are_the_defaults() -> None:
    options = DicodLocalisationOptions(classifier="anywhere")

    assert (options.crop_size, options.crop_pooling, options.feature_pooling) == (112, 4, 8)
    assert options.crop_weight == options.feature_weight == 1
    with pytest.raises(InvalidValueError, match="must not both be 0"):
        DicodLocalisationOptions(classifier="anywhere", crop_weight=0, feature_weight=0)


def test_loss_and_gradient_vanish_where_the_box_is_the_objects(
    classifier: CropClassifier, textured: Batch
) -> None:
    boxes = torch.tensor([OBJECT], requires_grad=True)

    loss = method(classifier)(student_of(textured, boxes), taps())
    loss.backward()

    assert float(loss.detach()) == 0
    assert boxes.grad is not None
    assert not boxes.grad.any()


@pytest.mark.parametrize("weights", [{}, {"crop_weight": 0}, {"feature_weight": 0}])
@pytest.mark.parametrize("shift", [[3.0, -2.0, 4.0, 3.0], [-4.0, 3.0, -2.0, 4.0]])
def test_descent_moves_a_box_onto_the_object(
    classifier: CropClassifier, textured: Batch, weights: dict[str, float], shift: list[float]
) -> None:
    target = torch.tensor([OBJECT])
    boxes = (target + torch.tensor([shift])).requires_grad_()
    chosen = method(classifier, **weights)
    optimizer = torch.optim.Adam([boxes], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    before = float(bbox_overlaps(boxes.detach(), target))

    for _ in range(60):
        optimizer.zero_grad()
        chosen(student_of(textured, boxes), taps()).backward()
        optimizer.step()
        schedule.step()

    assert before < 0.8
    assert float(bbox_overlaps(boxes.detach(), target)) > 0.95


def test_gradient_reaches_boxes_and_never_the_classifier(
    classifier: CropClassifier, textured: Batch
) -> None:
    objects = textured.samples[0].gt_instances.bboxes.requires_grad_()
    boxes = torch.tensor([[22.0, 14, 46, 38]], requires_grad=True)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}

    method(classifier)(student_of(textured, boxes), taps()).backward()

    assert boxes.grad is not None
    assert boxes.grad.abs().min() > 0
    assert objects.grad is None
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert all(torch.equal(v, before[name]) for name, v in classifier.state_dict().items())


def test_loss_is_zero_with_a_graph_without_positives(
    classifier: CropClassifier, textured: Batch
) -> None:
    boxes = torch.zeros(0, 4, requires_grad=True)

    loss = method(classifier)(student_of(textured, boxes), taps())
    loss.backward()

    assert float(loss.detach()) == 0
    assert boxes.grad is not None
