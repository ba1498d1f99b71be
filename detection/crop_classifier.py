"""A classifier of object crops, DICOD's teacher. DICOD section S2, docs/papers.md 5.1.

It is stored as a folder of classifier.json (`ClassifierCard`) and classifier.safetensors.

Shapes: N crops, K classes, s pixels a side of a crop.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from pydantic import ValidationError
from torch import Tensor, nn

from detection.data.crops import CropSplit, fixed_crop_batches
from detection.eval_mode import eval_mode
from detection.families import backbone_config
from detection.stored_weights import read_weights, write_weights
from searchd import artifacts
from searchd.domain.errors import ArtifactError, InvalidValueError
from searchd.messages.files import weights_file
from searchd.spec.classifier import ClassifierCard, ClassifierSpec

CARD_FILE = "classifier.json"
WEIGHTS = "classifier"
"""Name of the artifact with the weights."""
SHARED, SOFTMAX, SIGMOID = "shared", "softmax", "sigmoid"
"""Names of heads: one for both losses, or one for each."""


class CropClassifier(nn.Module):
    """A backbone as students have, global average pooling, and one or two fully connected layers.

    Attributes:
        spec: The spec that it was built from.
        class_names: Names of the classes, in the order of the logits.
    """

    def __init__(self, spec: ClassifierSpec, class_names: tuple[str, ...]) -> None:
        """Build the classifier with random weights. The spec's `initial_weights` are not read here.

        Args:
            spec: Architecture and heads.
            class_names: Names of the classes, one for each logit.
        """
        super().__init__()
        self.spec, self.class_names = spec, class_names
        config = ConfigDict(backbone_config(spec.architecture), _scope_="mmdet")
        self.backbone = MODELS.build(config)
        self.backbone.init_weights()
        names = (SOFTMAX, SIGMOID) if spec.two_heads else (SHARED,)
        width = spec.architecture.out_channels[-1]
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(class_names)) for name in names})

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """N x 3 x s x s, normalised -> each head's logits, N x K."""
        pooled = self.backbone(crops)[-1].mean(dim=(2, 3))
        return {name: head(pooled) for name, head in self.heads.items()}

    def logits(self, crops: Tensor, *, sigmoid: bool) -> Tensor:
        """N x 3 x s x s -> N x K, the logits that were trained for a sigmoid or for a softmax.

        Raises:
            InvalidValueError: The classifier was not trained with that loss.
        """
        wanted = SIGMOID if sigmoid else SOFTMAX
        if self.spec.losses == ("softmax" if sigmoid else "focal"):
            raise InvalidValueError(
                f"the classifier was trained with losses={self.spec.losses} and cannot teach a "
                f"student with a {wanted} head; train one with "
                f"losses={'focal' if sigmoid else 'softmax'} or joint"
            )
        return head_logits(self(crops), wanted)

    def first_features(self, crops: Tensor) -> Tensor:
        """N x 3 x s x s -> N x C x s/2 x s/2, the output of the first convolution before BN and
        ReLU: l0 of docs/papers.md 5.3."""
        features: Tensor = self.backbone.conv1(crops)
        return features


def head_logits(logits: Mapping[str, Tensor], name: str) -> Tensor:
    """Return the logits of a head, or of the shared head if there is only that one."""
    return logits[SHARED] if SHARED in logits else logits[name]


@torch.no_grad()
def accuracy(classifier: CropClassifier, crops: CropSplit, *, batch_size: int) -> dict[str, float]:
    """Return each head's top-1 accuracy, in [0, 1].

    Args:
        classifier: The classifier; its mode is the same afterwards.
        crops: Crops with the classifier's classes.
        batch_size: Crops per forward pass. It has no influence on the result.
    """
    device = next(classifier.parameters()).device
    right = dict.fromkeys(classifier.heads, 0)
    with eval_mode(classifier):
        for batch in fixed_crop_batches(crops, classifier.spec.input_size, batch_size):
            logits = classifier(batch.inputs.to(device))
            for name, value in logits.items():
                right[name] += int((value.argmax(dim=1).cpu() == batch.labels).sum())
    return {name: count / len(crops) for name, count in right.items()}


def save(
    classifier: CropClassifier, folder: str, *, accuracy: dict[str, float] | None
) -> ClassifierCard:
    """Store a classifier. The card is written last.

    Args:
        classifier: The classifier to store.
        folder: A path or an fsspec URL. It is created if missing, and its files are replaced.
        accuracy: Each head's accuracy on validation crops, if measured.

    Raises:
        OSError: The store refuses the write.
    """
    card = ClassifierCard(
        spec=classifier.spec,
        class_names=classifier.class_names,
        accuracy=accuracy,
        weights=write_weights(folder, WEIGHTS, classifier.state_dict()),
    )
    text = card.model_dump_json(indent=2)
    artifacts.write(artifacts.join(folder, CARD_FILE), text.encode(), name="classifier card")
    return card


def load(folder: str) -> CropClassifier:
    """Load a stored classifier, on the CPU, in train mode.

    Raises:
        ArtifactError: A file is missing, damaged, or not of a crop classifier.
    """
    uri = artifacts.join(folder, CARD_FILE)
    try:
        card = ClassifierCard.model_validate_json(artifacts.read_bytes(uri))
    except ValidationError as error:
        raise ArtifactError(f"{uri} does not describe a crop classifier: {error}") from error
    stored = replace(card.weights, uri=artifacts.join(folder, weights_file(WEIGHTS)))
    classifier = CropClassifier(card.spec, card.class_names)
    classifier.load_state_dict(read_weights(stored))
    return classifier


class ClassifierTeacher:
    """A classifier that teaches and is not changed.

    It is no `nn.Module`, so that a module with a reference to it neither trains nor stores it. It
    moves to the device of its inputs.
    """

    def __init__(self, classifier: CropClassifier) -> None:
        """
        Args:
            classifier: The classifier; it is put into eval mode and stops requiring gradients.
        """
        self._classifier = classifier.eval().requires_grad_(False)
        self.input_size = classifier.spec.input_size

    def logits(self, crops: Tensor, *, sigmoid: bool) -> Tensor:
        """See `CropClassifier.logits`."""
        return self._classifier.to(crops.device).logits(crops, sigmoid=sigmoid)

    def first_features(self, crops: Tensor) -> Tensor:
        """See `CropClassifier.first_features`."""
        return self._classifier.to(crops.device).first_features(crops)


def teacher_for(folder: str, class_names: tuple[str, ...], num_classes: int) -> ClassifierTeacher:
    """Load a classifier as the teacher of a student.

    Args:
        folder: The folder or URL that it was saved to.
        class_names: Class names of the student's training data, in the order of its labels.
        num_classes: Number of the student's classes.

    Raises:
        ArtifactError: A file is missing, damaged, or not of a crop classifier.
        InvalidValueError: The classifier's classes differ from the student's.
    """
    classifier = load(folder)
    if len(classifier.class_names) != num_classes:
        raise InvalidValueError(
            f"the classifier at {folder} has {len(classifier.class_names)} classes and the student "
            f"has {num_classes}; train one on the student's data (searchd tools train-classifier)"
        )
    if classifier.class_names != class_names:
        raise InvalidValueError(
            f"the classifier at {folder} has the classes {', '.join(classifier.class_names)}, and "
            f"the student {', '.join(class_names)}; both need the same ones in the same order"
        )
    return ClassifierTeacher(classifier)
