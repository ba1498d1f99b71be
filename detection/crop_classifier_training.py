"""Trains a crop classifier. DICOD section S2, docs/papers.md 5.1."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmdet.models.losses import FocalLoss
from torch import Tensor
from torch.nn import functional
from torch.optim import SGD
from torch.utils.data import DataLoader

from detection.checkpoint_files import differences, read_weights
from detection.crop_classifier import SIGMOID, SOFTMAX, CropClassifier, head_logits
from detection.data.crop_batches import CropBatches
from detection.data.crops import CropBatch, CropSplit
from detection.iteration import NonFiniteLossError
from searchd.domain.errors import CheckpointError, InvalidValueError
from searchd.spec.classifier import ClassifierSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierStep:
    """One finished iteration."""

    epoch: int
    """Number of the epoch, from 1."""
    iteration: int
    """Number of the iteration inside its epoch, from 1."""
    loss: float
    ends_epoch: bool


class ClassifierTraining:
    """The training of a classifier, with the whole state that a resumed run needs.

    Attributes:
        classifier: The classifier; its weights change as `run` is iterated.
        num_iterations: Number of iterations of one epoch.
    """

    def __init__(
        self,
        spec: ClassifierSpec,
        crops: CropSplit,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        num_workers: int = 0,
    ) -> None:
        """
        Args:
            spec: The classifier and its training settings.
            crops: The training crops.
            seed: Seed of initial weights, shuffling and augmentation.
            device: Where to train.
            num_workers: Number of processes that read images ahead; 0 to read them in this one.

        Raises:
            CheckpointError: The spec's initial weights cannot be read or fit another backbone.
        """
        torch.manual_seed(seed)
        self.classifier = CropClassifier(spec, crops.split.class_names)
        if spec.initial_weights is not None:
            load_backbone(self.classifier, spec.initial_weights)
        self.classifier.to(device)
        self._spec, self._seed, self._device = spec, seed, device
        self._num_workers = num_workers
        self._batches = CropBatches(crops, spec, seed=seed)
        self.num_iterations = self._batches.num_iterations
        self._optimizer = SGD(
            self.classifier.parameters(),
            lr=spec.learning_rate,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
        )
        self._step = 0

    @property
    def finished(self) -> bool:
        return self._step >= self._spec.epochs * self.num_iterations

    def run(self) -> Iterator[ClassifierStep]:
        """Train from the current state to the end, yielding after every iteration.

        Raises:
            NonFiniteLossError: The loss is not finite. The weights were not changed by it.
            DataError: An image cannot be read.
        """
        steps = range(self._step, self._spec.epochs * self.num_iterations)
        loader = DataLoader(
            self._batches, batch_size=None, sampler=steps, num_workers=self._num_workers
        )
        for batch in loader:
            loss = self._train_step(batch.to(self._device))
            epoch, iteration = divmod(self._step, self.num_iterations)
            self._step += 1
            yield ClassifierStep(
                epoch=epoch + 1,
                iteration=iteration + 1,
                loss=loss,
                ends_epoch=iteration + 1 == self.num_iterations,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the whole changing state with its settings, for `torch.save`; it loads with
        `weights_only=True`."""
        return {
            "made_from": self._settings(),
            "step": self._step,
            "classifier": self.classifier.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of another training.

        Raises:
            InvalidValueError: That training had another spec, seed or data.
        """
        if state["made_from"] != self._settings():
            raise InvalidValueError(
                "the training in this folder was started with other settings; use "
                f"{state['made_from']}, or choose another folder"
            )
        self._step = state["step"]
        self.classifier.load_state_dict(state["classifier"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _settings(self) -> dict[str, Any]:
        return {
            "spec": self._spec.model_dump(mode="json"),
            "class_names": list(self.classifier.class_names),
            "num_iterations": self.num_iterations,
            "seed": self._seed,
        }

    def _train_step(self, batch: CropBatch) -> float:
        self.classifier.train()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._spec, self._step // self.num_iterations)
        loss = classifier_loss(self._spec, self.classifier(batch.inputs), batch.labels)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NonFiniteLossError(self._step, {"loss": value})
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return value


def classifier_loss(spec: ClassifierSpec, logits: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    """Return the softmax cross entropy, the sigmoid focal loss, or their sum, as means over crops.

    The focal loss is summed over the classes, as a detector's is over the classes of an anchor.

    Args:
        spec: The spec, which names the losses.
        logits: Logits of each head by its name, N x K.
        labels: Class of each crop, N.
    """
    terms: list[Tensor] = []
    if spec.losses != "focal":
        terms.append(functional.cross_entropy(head_logits(logits, SOFTMAX), labels))
    if spec.losses != "softmax":
        found = head_logits(logits, SIGMOID)
        # One-hot, so that mmdet computes the same way with and without CUDA operators.
        target = functional.one_hot(labels, found.shape[1])
        terms.append(FocalLoss()(found, target, avg_factor=len(labels)))
    return torch.stack(terms).sum()


def learning_rate(spec: ClassifierSpec, epoch: int) -> float:
    """Return the learning rate in an epoch, counted from 0."""
    return float(spec.learning_rate * 0.1 ** bisect_right(sorted(spec.milestones), epoch))


def load_backbone(classifier: CropClassifier, checkpoint: Path) -> None:
    """Load a backbone by torchvision's or mmdet's names. Other parts of the file are ignored.

    Raises:
        CheckpointError: The file cannot be read or is of another backbone.
    """
    stored = read_weights(checkpoint)
    inside = {name: value for name, value in stored.items() if name.startswith("backbone.")}
    weights = {
        name.removeprefix("backbone."): value
        for name, value in (inside or stored).items()
        if not name.startswith("fc.")  # torchvision's head, beside its backbone
    }
    differing = differences(classifier.backbone.state_dict(), weights)
    if differing:
        raise CheckpointError(
            f"{checkpoint} does not fit the backbone {classifier.spec.backbone}: {differing}"
        )
    classifier.backbone.load_state_dict(weights)
