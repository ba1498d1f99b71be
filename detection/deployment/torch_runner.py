"""Runs a detector in torch, as the reference that exports are compared with."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmdet.models import BaseDetector, TwoStageDetector
from mmdet.structures import DetDataSample
from numpy.typing import NDArray
from torch import Tensor

from detection.deployment.exported import Found, Pixels
from detection.deployment.mask_tail import mask_heads
from searchd.domain.head_geometry import MASK_REGION_SIZE


class TorchRunner:
    """Runs mmdet's own `predict`."""

    def __init__(self, model: BaseDetector) -> None:
        """
        Args:
            model: The detector in eval mode, on the CPU.
        """
        self._model = model
        self._mask_heads = mask_heads(model)

    @property
    def software(self) -> str:
        """torch and its version."""
        return f"torch {torch.__version__}"

    @torch.inference_mode()
    def detect(self, images: Pixels) -> Found:
        """Detect on one image."""
        inputs, samples = self._prepared(images)
        with self._overheard() as logits:
            (sample,) = self._model.predict(inputs, samples, rescale=False)
        found = sample.pred_instances
        return Found(
            boxes=found.bboxes.numpy(),
            scores=found.scores.numpy(),
            labels=found.labels.numpy(),
            masks=self._masks(logits, found.labels) if self._mask_heads else None,
        )

    @torch.inference_mode()
    def raw(self, images: Pixels) -> list[NDArray[np.float32]]:
        """Return the outputs of the one-stage head or the RPN before any selection of boxes."""
        inputs, _ = self._prepared(images)
        is_two_stage = isinstance(self._model, TwoStageDetector)
        head = self._model.rpn_head if is_two_stage else self._model.bbox_head
        outputs = head(self._model.extract_feat(inputs))
        return [level.numpy() for kind in outputs for level in kind]

    @contextmanager
    def _overheard(self) -> Iterator[list[Tensor]]:
        """Yield the outputs of the mask heads, of which mmdet returns pixels alone."""
        logits: list[Tensor] = []
        hooks = [
            head.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
            for head in self._mask_heads
        ]
        try:
            yield logits
        finally:
            for hook in hooks:
                hook.remove()

    def _masks(self, logits: list[Tensor], labels: Tensor) -> NDArray[np.float32]:
        """Return the probabilities of the detections' classes, the mean of all heads'.

        Args:
            logits: n x K x M x M of each head; none if nothing was found.
            labels: n.
        """
        if not logits:
            return np.zeros((0, 2 * MASK_REGION_SIZE, 2 * MASK_REGION_SIZE), dtype=np.float32)
        chosen = [each[torch.arange(len(labels)), labels].sigmoid() for each in logits]
        return torch.stack(chosen).mean(0).numpy()

    def _prepared(self, images: Pixels) -> tuple[Tensor, list[DetDataSample]]:
        """Normalise and pad as mmdet does."""
        shape = images.shape[-2:]
        sample = DetDataSample(
            metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
        )
        made = self._model.data_preprocessor(
            {"inputs": [torch.from_numpy(images[0])], "data_samples": [sample]}, False
        )
        return made["inputs"], made["data_samples"]
