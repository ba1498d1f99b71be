"""Writes a detector as one TorchScript file, `model.pt`, and runs it in torch.

The file holds operators of torch alone (`torch_operators`): neither mmdet nor this project is
needed to run it. Its method `forward` takes images and returns boxes, scores and labels, and masks
if the detector finds them, as `detection.deployment.graph.GraphOutputs` describes them; `raw`
returns the head's outputs.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from mmdet.models import BaseDetector
from numpy.typing import NDArray
from torch import Tensor, nn

from detection.deployment.exported import Exported, Found, Pixels, Request, facts, found_first
from detection.deployment.graph import DetectorGraph, check_operators
from detection.deployment.programs import USAGE, write_program
from detection.deployment.torch_operators import TORCH_ONLY
from searchd.domain.errors import InvalidValueError

MODEL_FILE = "model.pt"
FACTS_FILE = "facts.json"
"""Name of `exported.facts` inside the file."""
_TRACED = (128, 160)
"""Height and width of the images that a module for any size is traced with."""


class TorchscriptRunner:
    """Runs a TorchScript file on the CPU."""

    def __init__(self, file: Path) -> None:
        self._module = torch.jit.load(file).eval()

    @property
    def software(self) -> str:
        """torch and its version."""
        return f"torch {torch.__version__}"

    @torch.inference_mode()
    def detect(self, images: Pixels) -> Found:
        """Detect on one image."""
        return found_first(each.numpy() for each in self._module(torch.from_numpy(images)))

    @torch.inference_mode()
    def raw(self, images: Pixels) -> list[NDArray[np.float32]]:
        """Return the outputs of the one-stage head or the RPN."""
        return [each.numpy() for each in self._module.raw(torch.from_numpy(images))]


class _Traceable(nn.Module):
    """A detector whose methods return tuples, which can be traced."""

    def __init__(self, model: BaseDetector) -> None:
        super().__init__()
        self.graph = DetectorGraph(model, TORCH_ONLY)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.graph(images)
        return found.boxes, found.scores, found.labels, *found.masks

    def raw(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.graph(images).raw)


def load(model: Path, *, num_threads: int) -> TorchscriptRunner:
    """Return what runs a file that `write` wrote, with a number of threads for the whole process.

    Raises:
        InvalidValueError: torch cannot read the file.
    """
    torch.set_num_threads(num_threads)
    try:
        return TorchscriptRunner(model)
    except RuntimeError as error:
        raise InvalidValueError(f"{model} is no TorchScript file: {error}") from error


def write(model: BaseDetector, folder: Path, request: Request) -> Exported:
    """Write `model.pt`, and the program `predict.py` that runs it.

    Args:
        model: The detector in eval mode, on the CPU.
        folder: An existing folder.
        request: What is written.

    Raises:
        InvalidValueError: The detector has an operator that is not exported.
    """
    check_operators(model)
    size = request.size
    height, width = _TRACED if size is None else (size.height, size.width)
    example = torch.rand(2, 3, height, width) * 255
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of numbers that are constants for this detector
        module = torch.jit.trace_module(
            _Traceable(model).eval(), {"forward": example, "raw": example}, check_trace=False
        )
    path = folder / MODEL_FILE
    torch.jit.save(module, path, _extra_files={FACTS_FILE: json.dumps(facts(request))})
    return Exported(
        model=path,
        runner=TorchscriptRunner(path),
        programs=(write_program(path),),
        usage=USAGE.format(packages="torch numpy opencv-python-headless"),
    )
