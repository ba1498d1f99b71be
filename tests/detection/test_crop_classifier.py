"""The crop classifier: heads, losses, schedule, training, storing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from detection.crop_classifier import (
    ClassifierTeacher,
    CropClassifier,
    accuracy,
    load,
    save,
    teacher_for,
)
from detection.crop_classifier_training import (
    ClassifierTraining,
    classifier_loss,
    learning_rate,
    load_backbone,
)
from detection.data.coco import CocoSplit
from detection.data.crops import CropSplit
from detection.data.shapes import make_shapes
from searchd.domain.errors import ArtifactError, CheckpointError, InvalidValueError
from searchd.spec.classifier import ClassifierSpec

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

NAMES = ("circle", "square", "triangle", "cross")


def spec(**changes: Any) -> ClassifierSpec:
    defaults: dict[str, Any] = {
        "backbone": "resnet18",
        "base_channels": 8,
        "input_size": 32,
        "batch_size": 32,
    }
    return ClassifierSpec.model_validate(defaults | changes)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> tuple[CropSplit, CropSplit]:
    """Of training and of validation images."""
    folder = tmp_path_factory.mktemp("shapes")
    drawn = make_shapes(
        folder, num_train=128, num_validation=32, image_size=64, num_classes=3, difficulty=0
    )
    return CropSplit(CocoSplit(drawn.train)), CropSplit(CocoSplit(drawn.validation))


def test_defaults_are_the_papers() -> None:
    paper = ClassifierSpec()

    assert (paper.backbone, paper.input_size, paper.losses) == ("resnet50", 112, "joint")
    assert not paper.two_heads
    assert paper.epochs == 90
    assert [learning_rate(paper, epoch) for epoch in (0, 49, 50, 89)] == pytest.approx(
        [1e-4, 1e-4, 1e-5, 1e-5]
    )


def test_two_heads_need_two_losses() -> None:
    with pytest.raises(ValidationError, match="two_heads needs joint losses, and losses is focal"):
        spec(two_heads=True, losses="focal")


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ValidationError, match='there is no backbone "resnet19"'):
        spec(backbone="resnet19")


def test_heads_share_their_logits_unless_there_are_two() -> None:
    inputs = torch.randn(2, 3, 32, 32)

    shared = CropClassifier(spec(), NAMES).eval()
    two = CropClassifier(spec(two_heads=True), NAMES).eval()

    assert {name: tuple(logits.shape) for name, logits in shared(inputs).items()} == {
        "shared": (2, 4)
    }
    assert torch.equal(shared.logits(inputs, sigmoid=True), shared.logits(inputs, sigmoid=False))
    assert set(two(inputs)) == {"softmax", "sigmoid"}
    assert torch.equal(two.logits(inputs, sigmoid=True), two(inputs)["sigmoid"])
    assert torch.equal(two.logits(inputs, sigmoid=False), two(inputs)["softmax"])


@pytest.mark.parametrize(("losses", "sigmoid"), [("softmax", True), ("focal", False)])
def test_a_classifier_teaches_only_the_heads_it_was_trained_for(losses: str, sigmoid: bool) -> None:
    classifier = CropClassifier(spec(losses=losses), NAMES).eval()

    assert classifier.logits(torch.zeros(2, 3, 32, 32), sigmoid=not sigmoid).shape == (2, 4)
    with pytest.raises(InvalidValueError, match=f"losses={losses} and cannot teach"):
        classifier.logits(torch.zeros(2, 3, 32, 32), sigmoid=sigmoid)


def _reference(softmax: Tensor, sigmoid: Tensor, labels: list[int]) -> tuple[float, float]:
    """Cross entropy, and focal loss with alpha 0.25 and gamma 2, in NumPy."""
    z = softmax.numpy()
    entropy = np.log(np.exp(z).sum(axis=1)) - z[range(len(labels)), labels]
    p = 1 / (1 + np.exp(-sigmoid.numpy()))
    target = np.eye(p.shape[1])[labels]
    focal = -np.where(target == 1, 0.25 * (1 - p) ** 2 * np.log(p), 0.75 * p**2 * np.log(1 - p))
    return float(entropy.mean()), float(focal.sum(axis=1).mean())


def test_losses_equal_numpy() -> None:
    torch.manual_seed(0)
    one, other, labels = torch.randn(3, 4).double(), torch.randn(3, 4).double(), [0, 3, 3]
    target = torch.tensor(labels)

    def loss(logits: dict[str, Tensor], **changes: Any) -> float:
        return float(classifier_loss(spec(**changes), logits, target))

    entropy, focal = _reference(one, one, labels)
    assert loss({"shared": one}, losses="softmax") == pytest.approx(entropy, rel=1e-9)
    assert loss({"shared": one}, losses="focal") == pytest.approx(focal, rel=1e-7)
    assert loss({"shared": one}) == pytest.approx(entropy + focal, rel=1e-7)
    entropy, focal = _reference(one, other, labels)
    two = {"softmax": one, "sigmoid": other}
    assert loss(two, two_heads=True) == pytest.approx(entropy + focal, rel=1e-7)


def test_a_tiny_classifier_learns_the_shapes(crops: tuple[CropSplit, CropSplit]) -> None:
    train, validation = crops
    settings = spec(epochs=15, milestones=(10,), learning_rate=0.05, batch_size=16)
    training = ClassifierTraining(settings, train)

    losses = [step.loss for step in training.run()]

    assert training.finished
    assert np.mean(losses[-4:]) < 0.3 * np.mean(losses[:4])
    assert accuracy(training.classifier, validation, batch_size=32)["shared"] > 0.9


def test_a_resumed_training_equals_an_uninterrupted_one(
    crops: tuple[CropSplit, CropSplit],
) -> None:
    settings = spec(epochs=2, batch_size=64, losses="joint", two_heads=True, augmentation="ssd")
    whole = ClassifierTraining(settings, crops[1])
    expected = [step.loss for step in whole.run()]
    begun = ClassifierTraining(settings, crops[1])
    first = next(step for step in begun.run() if step.ends_epoch)
    resumed = ClassifierTraining(settings, crops[1])

    resumed.load_state_dict(begun.state_dict())
    rest = list(resumed.run())

    assert (first.epoch, first.iteration) == (1, whole.num_iterations)
    assert [step.loss for step in rest] == expected[whole.num_iterations :]
    assert rest[0].epoch == 2
    for name, value in whole.classifier.state_dict().items():
        assert torch.equal(value, resumed.classifier.state_dict()[name])


def test_a_training_is_not_resumed_with_other_settings(crops: tuple[CropSplit, CropSplit]) -> None:
    state = ClassifierTraining(spec(), crops[1]).state_dict()

    with pytest.raises(InvalidValueError, match="was started with other settings"):
        ClassifierTraining(spec(learning_rate=0.2), crops[1]).load_state_dict(state)


def test_a_stored_classifier_is_loaded_wherever_its_folder_is_moved(tmp_path: Path) -> None:
    classifier = CropClassifier(spec(two_heads=True), NAMES).eval()
    inputs = torch.randn(2, 3, 32, 32)

    card = save(classifier, str(tmp_path / "here"), accuracy={"softmax": 0.5, "sigmoid": 0.25})
    (tmp_path / "here").rename(tmp_path / "there")
    loaded = load(str(tmp_path / "there")).eval()

    assert card.class_names == NAMES
    assert loaded.spec == classifier.spec
    assert torch.equal(loaded(inputs)["sigmoid"], classifier(inputs)["sigmoid"])
    stored = json.loads((tmp_path / "there" / "classifier.json").read_text())
    assert stored["accuracy"] == {"softmax": 0.5, "sigmoid": 0.25}


def test_a_damaged_or_missing_classifier_is_named(tmp_path: Path) -> None:
    save(CropClassifier(spec(), NAMES), str(tmp_path), accuracy=None)
    (tmp_path / "classifier.safetensors").write_bytes(b"nothing")

    with pytest.raises(ArtifactError, match="is damaged"):
        load(str(tmp_path))
    (tmp_path / "classifier.json").write_text('{"spec": 1}')
    with pytest.raises(ArtifactError, match="does not describe a crop classifier"):
        load(str(tmp_path))
    with pytest.raises(ArtifactError, match="missing"):
        load(str(tmp_path / "nowhere"))


def test_a_teachers_classes_must_be_the_students(tmp_path: Path) -> None:
    save(CropClassifier(spec(), NAMES), str(tmp_path), accuracy=None)

    assert teacher_for(str(tmp_path), NAMES, 4).input_size == 32
    with pytest.raises(InvalidValueError, match="has 4 classes and the student has 3"):
        teacher_for(str(tmp_path), NAMES[:3], 3)
    with pytest.raises(InvalidValueError, match="has the classes circle, square, .* student cross"):
        teacher_for(str(tmp_path), NAMES[::-1], 4)


def test_a_teacher_is_frozen_and_reads_the_first_convolution_as_it_is() -> None:
    classifier = CropClassifier(spec(), NAMES)
    teacher = ClassifierTeacher(classifier)

    features = teacher.first_features(torch.randn(2, 3, 32, 32))

    assert not classifier.training
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    assert tuple(features.shape) == (2, 8, 16, 16)
    assert (features < 0).any()


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_backbone_is_taken_over_from_a_checkpoint(tmp_path: Path, prefix: str) -> None:
    source = CropClassifier(spec(), NAMES)
    weights = {f"{prefix}{name}": v for name, v in source.backbone.state_dict().items()}
    torch.save(weights | {"fc.weight": torch.zeros(9, 64)}, tmp_path / "imagenet.pth")
    target = CropClassifier(spec(), NAMES)

    load_backbone(target, tmp_path / "imagenet.pth")

    for name, value in source.backbone.state_dict().items():
        assert torch.equal(value, target.backbone.state_dict()[name])


def test_a_checkpoint_of_another_backbone_is_refused(tmp_path: Path) -> None:
    other = CropClassifier(spec(base_channels=16), NAMES)
    torch.save(other.backbone.state_dict(), tmp_path / "wide.pth")

    with pytest.raises(CheckpointError, match=r"wide.pth does not fit the backbone resnet18"):
        load_backbone(CropClassifier(spec(), NAMES), tmp_path / "wide.pth")


def test_a_teacher_follows_its_inputs_to_their_device() -> None:
    teacher = ClassifierTeacher(CropClassifier(spec(), NAMES))
    crops = torch.zeros(2, 3, 32, 32, device="meta")

    assert teacher.logits(crops, sigmoid=True).device.type == "meta"
    assert teacher.first_features(crops).device.type == "meta"
