"""The specs of DICOD's crop classifier, and the card of a stored one (docs/papers.md 5.1).

Imports pydantic and `searchd.domain`; never torch.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from searchd.domain.architecture import Architecture, preset
from searchd.domain.trial import Artifact
from searchd.spec.base import Spec
from searchd.spec.dataset import SplitSpec


class ClassifierSpec(Spec):
    """A crop classifier and how it is trained with SGD. The defaults are those of the paper (DICOD
    S2, docs/papers.md 5.1)."""

    backbone: str = "resnet50"
    """Name of a published backbone (`searchd.domain.architecture.PRESETS`), for example
    resnet18."""
    base_channels: int | None = Field(default=None, ge=1)
    """Number of output channels of the first convolution; all widths scale with it. Null uses the
    published number."""
    losses: Literal["softmax", "focal", "joint"] = "joint"
    """Loss of the classifier. softmax: cross entropy, for students with softmax heads. focal: focal
    loss, for students with sigmoid heads. joint: the sum of both, for either kind."""
    two_heads: bool = False
    """Whether each of the joint losses has its own output layer; otherwise they share their logits
    (docs/papers.md 5.1)."""
    input_size: int = Field(default=112, ge=32)
    """Width and height in pixels that crops are resized to; the paper has 56, 112 and 224."""
    augmentation: Literal["general", "ssd"] = "general"
    """Augmentation of the crops, which should be that of the student. general: mirroring. ssd: also
    photometric distortion, expansion and random cropping."""
    epochs: int = Field(default=90, ge=1)
    """Number of passes over the training crops."""
    milestones: tuple[int, ...] = (50,)
    """Epochs after which the learning rate is divided by ten."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Learning rate of SGD before the first milestone."""
    batch_size: int = Field(default=128, ge=2)
    """Number of crops per training step; the paper does not report it."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD; 0 is SGD without momentum."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay (L2 penalty) of SGD."""
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability, from 0 to 1, that a crop is mirrored horizontally."""
    initial_weights: Path | None = None
    """Checkpoint whose backbone the training starts from, for example one trained on ImageNet. Null
    for random weights."""

    @field_validator("backbone")
    @classmethod
    def _check_backbone(cls, backbone: str) -> str:
        preset(backbone)  # raises InvalidValueError if the name is unknown
        return backbone

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.two_heads and self.losses != "joint":
            raise ValueError(f"two_heads needs joint losses, and losses is {self.losses}")
        _ = self.architecture  # raises InvalidValueError if base_channels do not fit
        return self

    @property
    def architecture(self) -> Architecture:
        """The architecture of the backbone."""
        return preset(self.backbone, base_channels=self.base_channels)


class ClassifierTrainingSpec(Spec):
    """The training of a crop classifier: its data, the classifier, and where it runs. The spec of
    `searchd tools train-classifier`."""

    train: SplitSpec
    """Split whose objects are the training crops."""
    validation: SplitSpec | None = None
    """Split whose objects are the crops that accuracy is measured on. Null: not measured."""
    classifier: ClassifierSpec = ClassifierSpec()
    """The crop classifier and how it is trained."""
    seed: int = Field(default=0, ge=0)
    """Seed of every random draw: initial weights, data order, augmentation."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device to train on: cpu or cuda."""
    num_workers: int = Field(default=0, ge=0)
    """Number of processes that load images ahead of the training; 0 loads them in the training
    process."""

    @property
    def files(self) -> list[tuple[str, Path]]:
        """The files that the training reads, each with the name of its field."""
        found = [(f"{name}.annotations", split.annotations) for name, split in self._splits]
        if self.classifier.initial_weights is not None:
            found.append(("classifier.initial_weights", self.classifier.initial_weights))
        return found

    @property
    def folders(self) -> list[tuple[str, Path]]:
        """The folders that the training reads, each with the name of its field."""
        return [(f"{name}.images", split.images) for name, split in self._splits]

    @property
    def _splits(self) -> list[tuple[str, SplitSpec]]:
        named = [("train", self.train), ("validation", self.validation)]
        return [(name, split) for name, split in named if split is not None]


class ClassifierCard(Spec):
    """The card of a stored classifier, in classifier.json."""

    spec: ClassifierSpec
    """The spec that the classifier was trained by."""
    class_names: tuple[str, ...] = Field(min_length=1)
    """The names of the classes in the order of the logits."""
    accuracy: dict[str, float] | None
    """The top-1 accuracy on the validation crops, in [0, 1], by head; None if not measured."""
    weights: Artifact
    """The file of the weights (safetensors), which is always in the folder of the card."""
