"""Checkpoints, exports and reports: files addressed by URI through fsspec, with SHA-256.

Writes are atomic. Works on a local folder, NFS and S3 (any fsspec protocol). Does not depend on
searches, torch or the database.
"""

import errno
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from searchd.domain.errors import ArtifactError
from searchd.domain.trial import Artifact

log = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 300.0
"""Seconds for which a write is retried while the store is full or read-only. Less than
SEARCHD_SILENCE_S, or the watchdog would end a worker that waits."""
_RETRY_S = 1.0
_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors that an operator can fix while a write is retried: no space, quota exceeded, read-only."""


def located(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI, and the path in it.

    Listings are not cached: other machines write what this one asks for.
    """
    fs, path = url_to_fs(uri, use_listings_cache=False)
    return fs, path


def join(uri: str, *parts: str) -> str:
    """Return the URI of a file or folder below `uri`."""
    return "/".join([uri.rstrip("/"), *parts])


def write(uri: str, data: bytes, *, name: str, waits: bool = True) -> Artifact:
    """Store `data` at `uri`, atomically. Retry while the store is full or read-only, because an
    error would lose what was trained.

    Args:
        uri: A path or an fsspec URL; missing folders are created.
        data: The file's content.
        name: The role of the file ("student", "adapters", ...), for the returned `Artifact`.
        waits: Whether to retry while the store is full or read-only, for `WRITE_TIMEOUT_S`.

    Raises:
        OSError: The store refuses the write: unreachable, or full or read-only for
            `WRITE_TIMEOUT_S`.
    """
    _retry(lambda: _store(uri, data), uri, WRITE_TIMEOUT_S if waits else 0)
    return Artifact(
        name=name, uri=uri, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
    )


def upload(folder: Path, uri: str) -> int:
    """Copy the files of a local folder to the store, unless the store has the same content.

    Args:
        folder: The folder.
        uri: An fsspec URL of a folder. Other files there are not touched.

    Returns:
        The number of files that were copied.

    Raises:
        OSError: A file cannot be read, or the store refuses it.
    """
    fs, root = located(uri)
    fs.makedirs(root, exist_ok=True)  # a bucket may be missing
    stored = fs.find(root, detail=True)
    num_copied = 0
    for path in (path for path in sorted(folder.rglob("*")) if path.is_file()):
        target = join(root, path.relative_to(folder).as_posix())
        if not _has_content(stored.get(target, {}), path):
            fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            fs.put_file(str(path), target)
            num_copied += 1
    return num_copied


def copy_folder(source: str, target: str) -> int:
    """Copy every file below a folder of one store to another, each complete, whatever else is
    written meanwhile. Files that are removed meanwhile are left out.

    Args:
        source: A path or an fsspec URL.
        target: A path or an fsspec URL. Other files there are not touched.

    Returns:
        The number of files that were copied.
    """
    fs, root = located(source)
    num_copied = 0
    for path in fs.find(root):
        try:
            data = fs.cat_file(path)
        except FileNotFoundError:
            continue
        write(join(target, path.removeprefix(root).lstrip("/")), data, name="copy")
        num_copied += 1
    return num_copied


def _has_content(found: Mapping[str, Any], path: Path) -> bool:
    """Return whether a stored file has the content of a local one. The ETag of S3 is the MD5 of a
    file that was uploaded in one part; others are uploaded again."""
    return str(found.get("ETag", "")).strip('"') == hashlib.md5(path.read_bytes()).hexdigest()


def refusal(error: BaseException) -> str:
    """Return the error of a store that is full or read-only, and what would help, in words; empty
    for any other error."""
    if not isinstance(error, OSError) or error.errno not in _REFUSALS:
        return ""
    return f"{error}: free space, or make it writable"


def read(artifact: Artifact) -> bytes:
    """Return the content of a stored file, after checking its SHA-256.

    Raises:
        ArtifactError: The file is missing, or its SHA-256 is not the recorded one.
    """
    try:
        data = _content(artifact.uri)
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
    """Return the content of a stored file in pieces, for files larger than memory. The SHA-256 is
    not checked here; the receiver of the last piece can check it.

    Raises:
        ArtifactError: The file is missing, or its size is not the recorded one. Raised at the call.
    """
    fs, path = located(artifact.uri)
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
    """Return whether a file is stored at `uri`."""
    fs, path = located(uri)
    return bool(fs.exists(path))


def read_bytes(uri: str) -> bytes:
    """Return the content of a stored file whose SHA-256 is not known, such as a checkpoint.

    Raises:
        ArtifactError: The file is missing.
    """
    try:
        return _content(uri)
    except FileNotFoundError as error:
        raise ArtifactError(f"missing: {uri}") from error


def read_json(uri: str) -> Any:
    """Return the value of a stored JSON document.

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
        waits: Whether to retry while the store is read-only, for `WRITE_TIMEOUT_S`.

    Raises:
        OSError: The store refuses it.
    """
    fs, path = located(uri)
    if fs.exists(path):
        _retry(lambda: fs.rm(path, recursive=True), uri, WRITE_TIMEOUT_S if waits else 0)


def _content(uri: str) -> bytes:
    fs, path = located(uri)
    data: bytes = fs.cat_file(path)
    return data


def _retry(step: Callable[[], None], uri: str, timeout_s: float) -> None:
    """Run a step that changes what is stored at `uri`; retry it while the store refuses writes."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return step()
        except OSError as error:
            if not refusal(error) or time.monotonic() >= deadline:
                raise
            log.warning("%s cannot be written, retrying: %s", uri, error)
        time.sleep(_RETRY_S)


def _store(uri: str, data: bytes) -> None:
    fs, path = located(uri)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    if isinstance(fs, LocalFileSystem):
        _replace(path, data)
    else:
        fs.pipe_file(path, data)  # object stores show an upload only when it is complete


def _replace(path: str, data: bytes) -> None:
    # fsspec's own transaction writes to the system's temporary folder first. That is often on
    # another disk, and moving a file between disks is not atomic.
    partial = f"{path}.{uuid.uuid4().hex}.partial"
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:  # also for Ctrl-C: no partial file is left
        if os.path.exists(partial):
            os.remove(partial)
        raise
