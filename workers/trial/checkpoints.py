"""The state that an interrupted trial or pool training goes on from.

Per attempt two files at most: the state at the end of its last epoch, and a later one inside the
epoch under way. Each ends with its SHA-256.
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
    """Replace the attempt's checkpoint by one that later checkpoints of this attempt leave alone,
    until the next epoch ends. Otherwise as `write_checkpoint`."""
    _write(artifacts.join(folder, EPOCH_FILE), state)
    _delete(artifacts.join(folder, RESUME_FILE))  # what it holds is in the new one


def checkpoints(
    folders: Iterable[str], on_damage: Callable[[str], None] = log.warning
) -> Iterator[dict[str, Any]]:
    """Every readable checkpoint of these attempts' folders; of an attempt, the newest first.

    Args:
        folders: URIs.
        on_damage: Told in words of each file that cannot be read and is passed over.
    """
    for folder in folders:
        for name in (RESUME_FILE, EPOCH_FILE):
            uri = artifacts.join(folder, name)
            if not artifacts.exists(uri):
                continue
            try:
                state = _read(uri)
            except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
                on_damage(f"checkpoint {uri} cannot be read and is passed over: {error}")
                continue
            yield state


def newest_checkpoint(folders: Iterable[str]) -> dict[str, Any] | None:
    """The first readable checkpoint of these attempts' folders, or None."""
    return next(checkpoints(folders), None)


def delete_checkpoints(folders: Iterable[str]) -> None:
    """Remove what nobody will go on from. What cannot be removed stays: it only costs space, and is
    no reason to lose a trial that has ended."""
    for folder in folders:
        for name in (RESUME_FILE, EPOCH_FILE):
            _delete(artifacts.join(folder, name))


def _write(uri: str, state: Mapping[str, Any]) -> None:
    file = io.BytesIO()
    torch.save(dict(state), file)
    data = file.getvalue()
    artifacts.write(uri, data + hashlib.sha256(data).digest(), name="resume")


def _read(uri: str) -> dict[str, Any]:
    """
    Raises:
        ValueError: It does not match its SHA-256.
        RuntimeError, EOFError, UnpicklingError: It holds no checkpoint.
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
        log.warning("%s could not be removed: %s", uri, error)
