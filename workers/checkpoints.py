"""The state that an interrupted trial or pool training goes on from: one file per attempt."""

import io
import logging
import pickle
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from searchd import artifacts

log = logging.getLogger(__name__)

RESUME_FILE = "resume.pt"


def write_checkpoint(folder: str, state: Mapping[str, Any]) -> None:
    """Replace the attempt's checkpoint.

    Args:
        folder: URI of the attempt's folder.
        state: Tensors and plain values, since it is read with `weights_only=True`.

    Raises:
        OSError: The store refuses the write.
    """
    file = io.BytesIO()
    torch.save(dict(state), file)
    artifacts.write(artifacts.join(folder, RESUME_FILE), file.getvalue(), name="resume")


def newest_checkpoint(folders: Iterable[str]) -> dict[str, Any] | None:
    """The first readable checkpoint of these attempts' folders, or None."""
    for folder in folders:
        uri = artifacts.join(folder, RESUME_FILE)
        if not artifacts.exists(uri):
            continue
        try:
            file = io.BytesIO(artifacts.read_bytes(uri))
            state: dict[str, Any] = torch.load(file, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            log.warning("%s cannot be read and is passed over: %s", uri, error)
            continue
        return state
    return None


def delete_checkpoints(folders: Iterable[str]) -> None:
    """Remove what nobody will go on from. What cannot be removed stays: it only costs space, and is
    no reason to lose a trial that has ended."""
    for folder in folders:
        uri = artifacts.join(folder, RESUME_FILE)
        try:
            artifacts.delete(uri)
        except OSError as error:
            log.warning("%s could not be removed: %s", uri, error)
