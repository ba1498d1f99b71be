"""Files of data sets that workers copy from a shared store to their own disks.

The check copies a data set, and stores a list of the files of each split with their SHA-256. A
worker keeps each content once, under its SHA-256, and links it to the path that the data set names,
which is the same on every worker.
"""

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchd import artifacts
from searchd.domain.errors import ArtifactError, DataError
from searchd.domain.trial import Artifact
from searchd.spec import SPLITS, DatasetSpec, FileList, SharedFiles

_PARALLEL = 16
"""Number of files that are copied at the same time."""
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file in the shared store, and its copy."""

    path: Path
    """Where every worker reads its copy."""
    uri: str
    sha256: str


def pull(shared: SharedFiles, folder: Path) -> Mapping[Path, SharedFile]:
    """Copy a data set from the shared store as it is now; other files in the folder are removed.

    Args:
        shared: Where the data set is. Nothing is copied if its images are not in the store.
        folder: Where to copy it to.

    Returns:
        The files by the paths of their copies.

    Raises:
        DataError: The store cannot be read, or has no files there.
    """
    if shared.images is None:
        return {}
    sources = _listed(shared.images, folder)
    for stale in {path for path in folder.rglob("*") if path.is_file()} - sources.keys():
        stale.unlink()

    def copy(path: Path) -> SharedFile:
        digest = _download(sources[path], shared.cache)
        _link(digest, path, shared.cache)
        return SharedFile(path, sources[path], digest)

    return {file.path: file for file in _in_parallel(copy, sources)}


def publish(
    spec: DatasetSpec, summary: Mapping[str, Any], copied: Mapping[Path, SharedFile]
) -> dict[str, Any]:
    """Store the annotation files that a check has written, and a list of the files of each split.

    Args:
        spec: A data set with `shared`.
        summary: The summary of its check as JSON.
        copied: What `pull` returned.

    Returns:
        The summary, with `files` of each split.
    """
    assert spec.shared is not None
    found = dict(summary)
    for name in SPLITS:
        if found.get(name) is not None:
            listed = _publish_split(spec.shared, spec.train.annotations, name, copied)
            found[name] = {**found[name], "files": listed.model_dump(mode="json")}
    return found


def fetch(listed: FileList, *, only: str | None = None) -> None:
    """Copy the files of a split that are not on this machine yet. Processes of this machine wait
    for each other.

    Args:
        listed: The stored list of files.
        only: Path of the one file to copy; None copies all.

    Raises:
        DataError: The list or a file cannot be read, or changed since the check.
    """
    given = Artifact(name="list of files", uri=listed.uri, sha256=listed.sha256, size_bytes=0)
    try:
        content = artifacts.read(given)
    except ArtifactError as error:
        raise DataError(f"{error}; check the data set again: searchd dataset recheck") from error
    known = json.loads(content)
    cache = Path(known["cache"])
    files = [SharedFile(Path(path), uri, digest) for path, uri, digest in known["files"]]
    files = [file for file in files if only in (None, str(file.path))]
    with _locked(cache / "locks" / listed.sha256):
        _in_parallel(lambda file: _ensure(file, cache), files)


def _publish_split(
    shared: SharedFiles, train: Path, name: str, copied: Mapping[Path, SharedFile]
) -> FileList:
    path = train.with_name(f"{name}.json")
    content = path.read_bytes()
    stored = artifacts.write(f"{shared.annotations}/{name}.json", content, name=path.name)
    annotations = SharedFile(path, stored.uri, stored.sha256)
    images = (train.parent / "files" / each["file_name"] for each in json.loads(content)["images"])
    files = [annotations, *(copied[image] for image in images if image in copied)]
    listed = [(str(file.path), file.uri, file.sha256) for file in files]
    document = json.dumps({"cache": str(shared.cache), "files": listed}).encode()
    uri = f"{shared.annotations}/{name}.files.json"
    return FileList(uri=uri, sha256=artifacts.write(uri, document, name="list of files").sha256)


def _listed(uri: str, folder: Path) -> dict[Path, str]:
    """Return the URI of every file below a folder of the store, by the path of its copy."""
    fs, root = artifacts.located(uri)
    try:
        paths = fs.find(root)
    except (OSError, ImportError) as error:
        raise DataError(f"{uri} cannot be read: {error}") from error
    if not paths:
        raise DataError(f"{uri} has no files; is there such a folder in the store?")
    names = [path.removeprefix(root).lstrip("/") for path in paths]
    return {folder / name: f"{uri}/{name}" for name in names}


def _ensure(file: SharedFile, cache: Path) -> None:
    content = _content(file.sha256, cache)
    if not content.exists():
        found = _download(file.uri, cache)
        if found != file.sha256:
            raise DataError(
                f"{file.uri} changed since its data set was checked: its SHA-256 is {found}, not "
                f"{file.sha256}; restore it, or check the data set again: searchd dataset recheck"
            )
    _link(file.sha256, file.path, cache)


def _download(uri: str, cache: Path) -> str:
    """Copy a file into the cache and return its SHA-256."""
    partial = cache / "partial" / uuid.uuid4().hex
    partial.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    fs, path = artifacts.located(uri)
    try:
        with fs.open(path, "rb") as source, partial.open("wb") as target:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
        _keep(partial, _content(digest.hexdigest(), cache))
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{uri} cannot be copied to {cache}: {error}") from error
    return digest.hexdigest()


def _keep(partial: Path, content: Path) -> None:
    if content.exists():  # others are linked to it
        partial.unlink()
        return
    content.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, content)


def _content(sha256: str, cache: Path) -> Path:
    return cache / "contents" / sha256[:2] / sha256


def _link(sha256: str, path: Path, cache: Path) -> None:
    """Make `path` a link to the content, unless it is one."""
    content = _content(sha256, cache)
    if path.exists() and path.samefile(content):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    link = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    os.link(content, link)
    os.replace(link, path)


def _in_parallel(step: Any, items: Iterable[Any]) -> list[Any]:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(step, items))


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
