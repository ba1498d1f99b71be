"""Checkpoints, from which an interrupted trial or pool training resumes.

An attempt has at most two: one from the end of its last finished epoch, and a later one from inside
the current epoch. Each file ends with the SHA-256 of its content.
"""

import hashlib
import io
import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from searchd import artifacts
from searchd.messages.files import EPOCH_FILE, RESUME_FILE

log = logging.getLogger(__name__)

_DIGEST_BYTES = hashlib.sha256().digest_size


def write_checkpoint(folder: str, state: Mapping[str, Any]) -> None:
    """Replace the attempt's checkpoint.

    Args:
        folder: URI of the attempt's folder.
        state: Tensors and plain values, since it is read with `weights_only=True`.

    Raises:
        OSError: The store refuses the write.
    """
    _write(artifacts.join(folder, RESUME_FILE), state)


def write_epoch(folder: str, state: Mapping[str, Any]) -> None:
    """Replace the attempt's checkpoint from the end of an epoch, and delete the one from inside it.

    Unlike that of `write_checkpoint`, this file is kept until the next epoch ends.

    Args:
        folder: URI of the attempt's folder.
        state: Tensors and plain values, since it is read with `weights_only=True`.

    Raises:
        OSError: The store refuses the write.
    """
    _write(artifacts.join(folder, EPOCH_FILE), state)
    _delete(artifacts.join(folder, RESUME_FILE))  # the new checkpoint is later


def checkpoints(
    folders: Iterable[str], on_damage: Callable[[str], None] = log.warning
) -> Iterator[dict[str, Any]]:
    """Yield every readable checkpoint in attempts' folders, the newest of each attempt first.

    Args:
        folders: URIs of the attempts' folders.
        on_damage: Called with a message for each file that cannot be read, which is skipped.
    """
    for folder in folders:
        for name in (RESUME_FILE, EPOCH_FILE):
            uri = artifacts.join(folder, name)
            if not artifacts.exists(uri):
                continue
            try:
                state = _read(uri)
            except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
                on_damage(f"checkpoint {uri} cannot be read and is skipped: {error}")
                continue
            yield state


def newest_checkpoint(folders: Iterable[str]) -> dict[str, Any] | None:
    """Return the first readable checkpoint in attempts' folders; None if there is none."""
    return next(checkpoints(folders), None)


def delete_checkpoints(folders: Iterable[str]) -> None:
    """Delete the checkpoints of a trial that has ended.

    A file that cannot be deleted is left, with a warning: it only costs space, which is no reason
    to lose the trial.
    """
    for folder in folders:
        for name in (RESUME_FILE, EPOCH_FILE):
            _delete(artifacts.join(folder, name))


def _write(uri: str, state: Mapping[str, Any]) -> None:
    file = io.BytesIO()
    torch.save(dict(state), file)
    data = file.getvalue()
    artifacts.write(uri, data + hashlib.sha256(data).digest(), name="resume")


def _read(uri: str) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        ValueError: The content does not match its SHA-256.
        RuntimeError, EOFError, UnpicklingError: The file holds no checkpoint.
    """
    stored = artifacts.read_bytes(uri)
    data, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError("its content does not match its SHA-256")
    state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    return state


def _delete(uri: str) -> None:
    try:
        artifacts.delete(uri)
    except OSError as error:
        log.warning("%s could not be deleted: %s", uri, error)
