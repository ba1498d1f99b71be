"""Paths in specs must be below the operator's data roots.

Workers open these paths with their own user's rights, and the content shows in results and errors:
without this rule, anybody who may submit could read any file of the cluster. Links are resolved
here, when a spec is submitted; a user who may write below a root can still change them later.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from searchd.domain.errors import InvalidFieldError
from searchd.spec import (
    BaseSpec,
    DatasetSpec,
    DistillationSpec,
    DistilSpec,
    FinishSpec,
    MethodSpec,
    PoolSpec,
    SearchSpec,
    TeacherSpec,
)

_OF_URIS = ("://", "::")
"""Marks of an fsspec URI, which is more than a path: a scheme, a chain of file systems."""


def check_dataset(spec: DatasetSpec, roots: tuple[Path, ...], stores: tuple[str, ...] = ()) -> None:
    """Check the paths of a data set, or its URI.

    Raises:
        InvalidValueError: A path of the data set is not below any of the roots, or its URI not
            below any of the stores.
    """
    if spec.shared is not None and spec.shared.images is not None:
        _check_uri(spec.shared.images, roots, stores)
        return  # the service chose its paths, in the cache of the workers
    for index, path in enumerate(spec.source.paths if spec.source else ()):
        _check(f"paths[{index}]", str(path), roots)
    for name, split in spec.splits.items():
        if spec.source is None:  # else the service chose the path, in its artifact store
            _check(f"{name}.annotations", str(split.annotations), roots)
        _check(f"{name}.images", str(split.images), roots)


def check_image(path: str, roots: tuple[Path, ...]) -> None:
    """Check the path of an image that is to be shown.

    Raises:
        InvalidValueError: It is no longer below any of the roots.
    """
    _check("image", path, roots)


def check_pool(spec: PoolSpec, roots: tuple[Path, ...]) -> None:
    """Check the path of a pool's pretrained backbone, or of the folder that it is imported from.

    Raises:
        InvalidValueError: The file or folder is not below any of the roots.
    """
    if spec.source is not None:
        _check("source", str(spec.source), roots)
    if spec.pretrained is not None and spec.pretrained.file is not None:
        _check("pretrained.file", str(spec.pretrained.file), roots)


def check_search(spec: SearchSpec, roots: tuple[Path, ...]) -> None:
    """Check the paths of a search.

    Raises:
        InvalidValueError: A path of the search is not below any of the roots.
    """
    for field, path in _paths(spec):
        _check(field, path, roots)


def check_distillation(spec: DistillationSpec, roots: tuple[Path, ...]) -> None:
    """Check the paths of a distillation.

    Raises:
        InvalidValueError: A path of the distillation is not below any of the roots.
    """
    if spec.base is not None:
        for field, path in _of_base(spec.base):
            _check(f"student.{field}", path, roots)
    for variant in spec.variants:
        _check_methods(variant, roots)


def check_finish(spec: FinishSpec, roots: tuple[Path, ...]) -> None:
    """Check the paths of the method that improves detectors.

    Raises:
        InvalidValueError: A path of the method is not below any of the roots.
    """
    if isinstance(spec.method, DistilSpec):
        _check_methods(spec.method, roots)


def check_teacher(spec: TeacherSpec, roots: tuple[Path, ...]) -> None:
    """Check the path of a teacher's checkpoint, or of the one that its training starts from.

    Raises:
        InvalidValueError: The checkpoint is not below any of the roots.
    """
    if spec.mmdet is not None:
        _check("mmdet.checkpoint", str(spec.mmdet.checkpoint), roots)
    start = None if spec.train is None else spec.train.mmdet
    if start is not None and start.checkpoint is not None:
        _check("train.mmdet.checkpoint", str(start.checkpoint), roots)


def _paths(spec: SearchSpec) -> Iterator[tuple[str, str]]:
    yield from _of_base(spec.base)
    searched = spec.distillation.search
    for field, path in _of_methods(spec.distillation.methods):
        yield f"distillation.{field}", path
    for field, path in _of_methods((searched and searched.methods) or ()):
        yield f"distillation.search.{field}", path


def _of_base(base: BaseSpec) -> Iterator[tuple[str, str]]:
    if base.mmdet is not None:
        yield "base.mmdet.checkpoint", str(base.mmdet.checkpoint)
    if base.export is not None:
        yield "base.export", str(base.export)
    if base.pretrained is not None and base.pretrained.file is not None:
        yield "base.pretrained.file", str(base.pretrained.file)


def _of_methods(methods: Iterable[MethodSpec]) -> Iterator[tuple[str, str]]:
    for method in methods:
        classifier = method.options.get("classifier")
        if isinstance(classifier, str):
            yield f"methods.{method.name}.options.classifier", classifier


def _check_methods(spec: DistillationSpec | DistilSpec, roots: tuple[Path, ...]) -> None:
    by_teacher = {f"teacher_methods.{name}": each for name, each in spec.teacher_methods.items()}
    for name, methods in {"distillation": spec.distillation, **by_teacher}.items():
        for field, path in _of_methods(methods.methods):
            _check(f"{name}.{field}", path, roots)


def _check(field: str, path: str, roots: tuple[Path, ...]) -> None:
    if roots and not _is_below(path, roots):
        allowed = ", ".join(map(str, roots))
        reason = (
            f"{path!r} must be an absolute path without '..' that is, with links resolved, below "
            f"one of: {allowed} (the operator sets SEARCHD_DATA_ROOTS)"
        )
        raise InvalidFieldError((field, reason))


def _check_uri(uri: str, roots: tuple[Path, ...], stores: tuple[str, ...]) -> None:
    if roots and not any(f"{uri}/".startswith(f"{store}/") for store in stores):
        allowed = ", ".join(stores) or "none"
        reason = (
            f"{uri!r} must be below one of the shared stores: {allowed} (the operator sets "
            "SEARCHD_DATA_STORES)"
        )
        raise InvalidFieldError(("uri", reason))


def _is_below(path: str, roots: tuple[Path, ...]) -> bool:
    given = Path(path)
    if not given.is_absolute() or ".." in given.parts or any(mark in path for mark in _OF_URIS):
        return False
    real = Path(os.path.realpath(given))
    return any(real.is_relative_to(os.path.realpath(root)) for root in roots)
