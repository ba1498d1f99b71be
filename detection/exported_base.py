"""Reads a detector that `searchd search export` wrote, as a base of another run."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from detection.build import Student, assemble
from detection.checkpoint_files import CheckpointFile, differences, read_checkpoint
from searchd.domain.detector import Detector
from searchd.domain.errors import CheckpointError
from searchd.spec.codecs import DETECTOR

DESCRIPTION = "detector.json"
"""File of an export that describes the detector."""
CHECKPOINT = "checkpoint.pth"
"""File of an export that holds weights and classes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exported:
    """An exported detector."""

    student: Student
    class_names: tuple[str, ...] | None
    """Names of its classes in the order of the labels; None if the export does not name them."""


def read_export(folder: Path, *, shapes_only: bool = False) -> Exported:
    """Read an exported detector.

    Args:
        folder: The folder of the export, or a file in it.
        shapes_only: Whether to read names and shapes of the weights only.

    Raises:
        CheckpointError: A file of the export is missing or damaged, or the weights are not those of
            the detector.
    """
    if folder.is_file():
        folder = folder.parent
    detector = _description(folder)
    file: CheckpointFile = read_checkpoint(folder / CHECKPOINT, shapes_only=shapes_only)
    with torch.device("meta"):  # only names and shapes are needed
        expected = assemble(detector).state_dict()
    differing = differences(expected, file.weights)
    if differing:
        raise CheckpointError(f"{folder / CHECKPOINT} does not fit {DESCRIPTION}: {differing}")
    return Exported(
        student=Student(detector=detector, weights=file.weights), class_names=file.class_names
    )


def _description(folder: Path) -> Detector:
    path = folder / DESCRIPTION
    try:
        stored = json.loads(path.read_text())
        return DETECTOR.validate_python(stored.get("detector", stored))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} has no {DESCRIPTION}; give a folder that `searchd search export` wrote"
        ) from error
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        raise CheckpointError(
            f"{path} does not describe a detector: {str(error).splitlines()[0]}; export again"
        ) from error
