"""Checkpoints, exports and reports: files addressed by URI through fsspec, with SHA-256.

A write becomes visible whole or not at all. Works alike on a local folder, NFS and S3
(any fsspec protocol). Knows nothing of searches, torch or the database.
"""

import errno
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from searchd.domain.errors import ArtifactError
from searchd.domain.trial import Artifact

log = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 300.0
"""How long a write waits for a store that is full or read-only. Less than SEARCHD_SILENCE_S, or the
watchdog ends a worker that waits."""
_RETRY_S = 1.0
_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What an operator mends while we wait: no space, quota used up, read-only."""


def join(uri: str, *parts: str) -> str:
    """The URI of something below `uri`."""
    return "/".join([uri.rstrip("/"), *parts])


def write(uri: str, data: bytes, *, name: str, waits: bool = True) -> Artifact:
    """Store `data` at `uri`, atomically. Waits while the store is full or read-only: what was
    trained so far is worth more than the time.

    Args:
        uri: A path or an fsspec URL; missing folders are made.
        data: The file's content.
        name: What the file is ("student", "adapters", ...); kept in the returned `Artifact`.
        waits: False: a store that is full or read-only is an error at once.

    Raises:
        OSError: The store refuses the write: unreachable, or full or read-only for
            `WRITE_TIMEOUT_S`.
    """
    _try(lambda: _store(uri, data), uri, WRITE_TIMEOUT_S if waits else 0)
    return Artifact(
        name=name, uri=uri, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
    )


def refusal(error: BaseException) -> str:
    """What a store that takes no writes at the moment says, and what would help; empty if the error
    is another."""
    if not isinstance(error, OSError) or error.errno not in _REFUSALS:
        return ""
    return f"{error}: free space, or make it writable"


def read(artifact: Artifact) -> bytes:
    """The content of a stored file, checked.

    Raises:
        ArtifactError: The file is missing, or its SHA-256 is not the recorded one.
    """
    try:
        with fsspec.open(artifact.uri, "rb") as file:
            data: bytes = file.read()
    except FileNotFoundError as error:
        raise ArtifactError(f"{artifact.name} is missing: {artifact.uri}", artifact.uri) from error
    found = hashlib.sha256(data).hexdigest()
    if found != artifact.sha256:
        raise ArtifactError(
            f"{artifact.name} is damaged: {artifact.uri} has SHA-256 {found}, "
            f"expected {artifact.sha256}",
            artifact.uri,
        )
    return data


def chunks(artifact: Artifact, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
    """The content of a stored file piece by piece, for files too large to hold. Its SHA-256 is not
    checked here: whoever receives the last piece can.

    Raises:
        ArtifactError: The file is missing, or its size is not the recorded one. Raised at the call.
    """
    fs, path = url_to_fs(artifact.uri)
    if not fs.exists(path):
        raise ArtifactError(f"{artifact.name} is missing: {artifact.uri}")
    if (size := fs.size(path)) != artifact.size_bytes:
        raise ArtifactError(
            f"{artifact.name} is damaged: {artifact.uri} has {size} bytes, "
            f"expected {artifact.size_bytes}"
        )
    return _read_chunks(fs, path, chunk_bytes)


def _read_chunks(fs: Any, path: str, chunk_bytes: int) -> Iterator[bytes]:
    with fs.open(path, "rb") as file:
        while chunk := file.read(chunk_bytes):
            yield chunk


def exists(uri: str) -> bool:
    """Whether a file is stored at `uri`."""
    fs, path = url_to_fs(uri)
    return bool(fs.exists(path))


def read_bytes(uri: str) -> bytes:
    """The content of a stored file of which no SHA-256 is known, such as a checkpoint.

    Raises:
        ArtifactError: The file is missing.
    """
    try:
        with fsspec.open(uri, "rb") as file:
            data: bytes = file.read()
    except FileNotFoundError as error:
        raise ArtifactError(f"missing: {uri}") from error
    return data


def read_json(uri: str) -> Any:
    """A stored JSON document.

    Raises:
        ArtifactError: The file is missing or is not JSON.
    """
    try:
        return json.loads(read_bytes(uri))
    except ValueError as error:
        raise ArtifactError(f"not JSON: {uri}: {error}") from error


def delete(uri: str, *, waits: bool = False) -> None:
    """Remove a file, or a folder and everything below it, if it exists.

    Args:
        uri: A path or an fsspec URL.
        waits: Whether to wait while the store is read-only.

    Raises:
        OSError: The store refuses it (read-only for `WRITE_TIMEOUT_S`, if it is to wait).
    """
    fs, path = url_to_fs(uri)
    if fs.exists(path):
        _try(lambda: fs.rm(path, recursive=True), uri, WRITE_TIMEOUT_S if waits else 0)


def _try(step: Callable[[], None], uri: str, patience_s: float) -> None:
    """Change what is stored at `uri`, as soon as the store takes it."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return step()
        except OSError as error:
            if not refusal(error) or time.monotonic() >= deadline:
                raise
            log.warning("%s cannot be written, and is tried again: %s", uri, error)
        time.sleep(_RETRY_S)


def _store(uri: str, data: bytes) -> None:
    fs, path = url_to_fs(uri)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    if isinstance(fs, LocalFileSystem):
        _replace(path, data)
    else:
        fs.pipe_file(path, data)  # object stores show an upload only when it is whole


def _replace(path: str, data: bytes) -> None:
    # fsspec's own transaction stages in the system's temporary folder, often another disk, from
    # where a move is a copy and not atomic.
    partial = f"{path}.{uuid.uuid4().hex}.partial"
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:  # also Ctrl-C: nothing half written stays
        if os.path.exists(partial):
            os.remove(partial)
        raise
