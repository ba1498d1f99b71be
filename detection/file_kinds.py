"""Recognises files that are no checkpoints by their first bytes, and says what they are.

People hand over what their tools or downloads left: a login page, a Git LFS pointer, the model of
another framework. Each kind has a sentence of its own that says what to do instead.
"""

import zipfile
from enum import StrEnum
from pathlib import Path

from searchd.domain.errors import CheckpointError

_HEAD = 512
"""Number of bytes by which a file is recognised."""
_MAX_SAFETENSORS_HEADER = 100_000_000
"""Largest size of a safetensors header in bytes, as safetensors itself has it."""
_TENSORFLOW = "it is a TensorFlow {what}; only PyTorch weights can be read"
_PAGE = (
    "it is an HTML or XML page, such as a login or error page that was saved instead of the file; "
    "download the checkpoint again"
)
_LFS = "it is a Git LFS pointer, not the file itself; run `git lfs pull`"
_HDF5 = "it is an HDF5 file, as Keras writes; only PyTorch weights can be read"
_ONNX = (
    "it is an ONNX model, a graph without the parameters' names; give the PyTorch checkpoint that "
    "it was exported from"
)
_COMPRESSED = "it is compressed; unpack it first"
_TAR = "it is a tar archive; unpack it and name the checkpoint in it"
_NUMPY = "it is a NumPy array; store the model's state_dict with torch.save or safetensors"


class FileFormat(StrEnum):
    """Formats of checkpoints that can be read."""

    SAFETENSORS = "safetensors"
    ZIP = "zip"
    """`torch.save` since 1.6: a zip archive of a pickle and raw tensors."""
    PICKLE = "pickle"
    """`torch.save` before 1.6: a sequence of pickles, then raw tensors."""


def file_format(path: Path) -> FileFormat:
    """Return the format of a checkpoint, whatever its name is.

    Raises:
        CheckpointError: The file is missing, or is of a kind that is no checkpoint.
    """
    reason = _why_no_file(path)
    if reason:
        raise unreadable(path, reason)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise unreadable(path, error.strerror or str(error)) from error
    found = _format(head)
    if found is None:
        raise unreadable(path, _other_kind(path, head))
    if found is FileFormat.ZIP:
        _check_archive(path)
    if found is FileFormat.SAFETENSORS:
        _check_length(path, int.from_bytes(head[:8], "little"))
    return found


def unreadable(path: Path, reason: str) -> CheckpointError:
    """Return the error of a file that cannot be read; `reason` is a clause, as "it is empty"."""
    return CheckpointError(f"{path} cannot be read: {reason}")


def _why_no_file(path: Path) -> str:
    try:
        if path.is_dir():
            return "it is a folder; name the checkpoint file in it"
        if not path.exists():
            return "there is no such file"
        if not path.is_file():
            return "it is no regular file"
        return "" if path.stat().st_size else "it is empty (0 bytes); copy or download it again"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def _format(head: bytes) -> FileFormat | None:
    if head.startswith(b"PK\x03\x04"):
        return FileFormat.ZIP
    size = int.from_bytes(head[:8], "little")
    if len(head) > 8 and head[8:9] == b"{" and 2 <= size <= _MAX_SAFETENSORS_HEADER:
        return FileFormat.SAFETENSORS
    is_pickle = len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5
    return FileFormat.PICKLE if is_pickle else None


def _other_kind(path: Path, head: bytes) -> str:
    """Return what a file is that is no checkpoint, and what to do instead."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    kinds = [
        (text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")), _PAGE),
        (head.startswith(b"version https://git-lfs.github.com/spec/"), _LFS),
        (head.startswith(b"\x89HDF\r\n\x1a\n"), _HDF5),
        (head[4:8] == b"TFL3", _TENSORFLOW.format(what="Lite model")),
        (path.suffix == ".onnx" or _is_onnx(head), _ONNX),
        (
            path.suffix in (".pb", ".index") or ".ckpt.data-" in path.name,
            _TENSORFLOW.format(what="checkpoint or SavedModel"),
        ),
        (head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")), _COMPRESSED),
        (b"ustar" in head[250:270], _TAR),
        (head.startswith(b"\x93NUMPY"), _NUMPY),
        (text.startswith((b"{", b"[")), "it is a JSON text, not weights"),
    ]
    unknown = "it is in no format of PyTorch checkpoints (torch.save or safetensors)"
    return next((reason for holds, reason in kinds if holds), unknown)


def _is_onnx(head: bytes) -> bool:
    """Return whether a protobuf begins as a ModelProto does: ir_version, then producer_name."""
    return len(head) > 3 and head[0] == 0x08 and head[1] < 0x20 and head[2] in (0x12, 0x3A)


def _check_archive(path: Path) -> None:
    """Check that a zip archive is complete and was written by `torch.save`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise unreadable(
            path,
            f"it is a truncated zip archive of {path.stat().st_size} bytes without its table of "
            "contents; copy or download it again",
        ) from error
    except (OSError, ValueError, NotImplementedError, LookupError, OverflowError) as error:
        raise unreadable(path, f"it is a damaged zip archive: {error}") from error
    reason = _other_archive({name.rpartition("/")[2] for name in names}, names)
    if reason:
        raise unreadable(path, reason)


def _other_archive(files: set[str], names: list[str]) -> str:
    if "constants.pkl" in files or any("/code/" in name for name in names):
        return (
            "it is a TorchScript program (torch.jit.save); store the model's state_dict with "
            "torch.save instead"
        )
    if "data.pkl" in files:
        return ""
    if "model.weights.h5" in files:
        return "it is a Keras model; only PyTorch weights can be read"
    if any(name.endswith(".npy") for name in files):
        return "it is a NumPy archive (.npz); store the state_dict with torch.save or safetensors"
    return "it is a zip archive without PyTorch weights; unpack it and name the checkpoint in it"


def _check_length(path: Path, header_size: int) -> None:
    if path.stat().st_size < 8 + header_size:
        raise unreadable(
            path, "it is a truncated safetensors file, shorter than its own header; copy it again"
        )
