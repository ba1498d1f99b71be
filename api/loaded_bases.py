"""Checks the files that a run or a pool starts from when it is submitted, and completes its spec.

torch reads them in a process of its own (`detection.base_check`), which the API does not import.
Fields of `head` that were left out follow the loaded detector.
"""

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import detection
from detection.file_kinds import file_format
from searchd.domain.errors import CheckpointError, InvalidValueError
from searchd.domain.method_fit import check_fit
from searchd.messages.base_check import Answer, Request
from searchd.messages.pool_export import WEIGHTS, imported_spec, read_description
from searchd.spec import BaseSpec, DistillationSpec, HeadSpec, PoolSpec, SearchSpec, traits_of

_MODULE = "detection.base_check"
_TIMEOUT_S = 300
"""Seconds after which a check has failed. Reading shapes takes seconds."""

FileState = tuple[str, int, int]
"""Path, time of the last change in nanoseconds, and size in bytes of a file."""


R = TypeVar("R", SearchSpec, DistillationSpec, PoolSpec)


def completed(spec: R) -> R:
    """Check the weights that a run or a pool starts from, and return it with their head.

    Raises:
        InvalidValueError: The weights cannot be used, or the head or a method does not fit them.
    """
    if isinstance(spec, SearchSpec):
        head = _checked_head(spec.base, spec.head)
        check_fit(spec.distillation.options, traits_of(head))
        return spec.model_copy(update={"head": head})
    if isinstance(spec, PoolSpec):
        return _completed_pool(spec)
    if spec.base is None:
        return spec
    head = _checked_head(spec.base, spec.head)
    student = spec.student.model_copy(update={"head": head})
    return spec.model_copy(update={"student": student})


def _completed_pool(spec: PoolSpec) -> PoolSpec:
    source = spec.source
    if source is not None:
        try:
            spec = imported_spec(spec, read_description(source))
        except CheckpointError as error:
            raise InvalidValueError(str(error)) from error
        _ask(Request(pool=spec), source / WEIGHTS)
    elif spec.pretrained is not None and spec.pretrained.file is not None:
        _ask(Request(pool=spec), spec.pretrained.file)
    return spec


def _checked_head(base: BaseSpec, head: HeadSpec) -> HeadSpec:
    file = _file_of(base)
    if file is None:
        return head
    given = head.model_dump(mode="json", include=head.model_fields_set)
    found = _ask(Request(base=base, head=given), file).head
    return HeadSpec.model_validate(found) if base.is_loaded else head


def _file_of(base: BaseSpec) -> Path | None:
    """Return the file of weights that a base starts from."""
    if base.mmdet is not None:
        return base.mmdet.checkpoint
    if base.export is not None:
        return base.export if os.path.isfile(base.export) else base.export / "checkpoint.pth"
    return None if base.pretrained is None else base.pretrained.file


def _ask(request: Request, file: Path) -> Answer:
    try:
        file_format(file)
    except CheckpointError as error:  # found without torch, and so at once
        raise InvalidValueError(str(error)) from error
    status = file.stat()
    found = _answer(request.model_dump_json(), (str(file), status.st_mtime_ns, status.st_size))
    if found.problem is not None:
        raise InvalidValueError(found.problem)
    return found


@lru_cache(maxsize=64)
def _answer(request: str, state: FileState) -> Answer:
    """Return the answer of the check; a file that changed is checked again."""
    root = str(Path(detection.__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            [sys.executable, "-m", _MODULE],
            input=request,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.SubprocessError as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise InvalidValueError(f"{state[0]} could not be checked: {detail}") from error
    return Answer.model_validate_json(done.stdout.strip().splitlines()[-1])
