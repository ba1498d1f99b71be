"""How DICOD's crop classifier is built and trained, and what is stored of one (docs/papers.md 5.1).

Knows pydantic and `searchd.domain`; never torch.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from searchd.domain.architecture import Architecture, preset
from searchd.domain.trial import Artifact
from searchd.spec.base import Spec

Losses = Literal["softmax", "focal", "joint"]
Augmentation = Literal["general", "ssd"]


class ClassifierSpec(Spec):
    """A classifier of crops. Defaults are the paper's (DICOD S2), with SGD (docs/papers.md 5.1)."""

    backbone: str = "resnet50"
    """A preset, see `searchd.domain.architecture.preset`."""
    base_channels: int | None = Field(default=None, ge=1)
    """Outputs of the stem, with which all widths scale; None as published."""
    losses: Losses = "joint"
    """softmax: cross entropy, for students with softmax heads. focal: for students with sigmoid
    heads. joint: the sum of both, for either."""
    two_heads: bool = False
    """Whether joint losses have a layer each; else they share their logits (docs/papers.md 5.1)."""
    input_size: int = Field(default=112, ge=32)
    """Pixels a side that crops are resized to: 56, 112 or 224 in the paper."""
    augmentation: Augmentation = "general"
    """general: mirroring. ssd: also photometric distortion, expansion and random cropping."""
    epochs: int = Field(default=90, ge=1)
    milestones: tuple[int, ...] = (50,)
    """Epochs after which the learning rate is divided by ten."""
    learning_rate: float = Field(default=1e-4, gt=0)
    batch_size: int = Field(default=128, ge=2)
    """Crops per step; the paper's is not known."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    initial_weights: Path | None = None
    """A checkpoint whose backbone to start from, as trained on ImageNet; None: random weights."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.two_heads and self.losses != "joint":
            raise ValueError(f"two_heads needs joint losses, and losses is {self.losses}")
        preset(self.backbone, base_channels=self.base_channels)  # raises, too
        return self

    @property
    def architecture(self) -> Architecture:
        return preset(self.backbone, base_channels=self.base_channels)


class ClassifierCard(Spec):
    """classifier.json: a stored classifier."""

    spec: ClassifierSpec
    class_names: tuple[str, ...] = Field(min_length=1)
    """In the order of the logits."""
    accuracy: dict[str, float] | None
    """Share of the validation crops whose best class is right, by head; None if not measured."""
    weights: Artifact
    """safetensors, beside this file wherever both are moved."""
