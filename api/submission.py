"""The checks of a spec at submission that need more than the spec and the database: the files that
it names, its checkpoints, and the nodes of the cluster."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from api import loaded_bases
from api.cluster import Cluster
from searchd.domain.capacity import (
    FIXED,
    Growth,
    unschedulable_reason,
    waiting_reason,
)
from searchd.domain.errors import InvalidFieldError
from searchd.domain.paths import Wanted, problem
from searchd.domain.sinks import SinkKind
from searchd.spec import (
    DatasetImport,
    DatasetSpec,
    DeviceSpec,
    DistillationSpec,
    ExportSpec,
    FinishSpec,
    MethodSpec,
    PoolSpec,
    SearchSpec,
    TeacherSpec,
)
from searchd.spec.needs import WorkSpec, need_of, unusable_gpus
from searchd.spec.sentences import MAX_ERRORS

T = TypeVar("T")
R = TypeVar("R", SearchSpec, DistillationSpec, PoolSpec)
AnySpec = (
    DatasetSpec
    | DatasetImport
    | PoolSpec
    | TeacherSpec
    | SearchSpec
    | DistillationSpec
    | FinishSpec
    | ExportSpec
    | DeviceSpec
)
_WANTED = {
    "images": Wanted.FOLDER,
    "paths": Wanted.ANY,
    "export": Wanted.ANY,
    "source": Wanted.FOLDER,
}
"""What the path in a field with this name must be of; a file in all other fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionChecks:
    """Checks specs before anything is created.

    By default nothing is checked, as befits a service that cannot see the disks of its workers.
    """

    files: bool = False
    """Whether the paths in a spec must exist on this machine."""
    sinks: frozenset[SinkKind] = frozenset(SinkKind)
    """The sinks that a spec may name."""
    cluster: Cluster | None = None
    """The cluster whose nodes must have the CPUs and GPUs that a spec needs."""
    growth: Growth = FIXED
    """The nodes that may still join the cluster."""

    def check(self, spec: AnySpec) -> list[str]:
        """Check a spec.

        Returns:
            Warnings: what could not be checked, and which nodes the work will wait for.

        Raises:
            InvalidFieldError: The spec would fail; the message has every reason.
        """
        found = self.problems(spec)
        if found:
            left_out = len(found) - MAX_ERRORS
            more = [("", f"and {left_out} more")] if left_out > 0 else []
            raise InvalidFieldError(*found[:MAX_ERRORS], *more)
        return self._warnings(spec)

    def completed(self, spec: R) -> R:
        """Check the weights that a run starts from, and return it with the head of its base.

        Unchanged if the files are not on this machine.

        Raises:
            InvalidValueError: The weights cannot be used, or the head or a method does not fit.
        """
        return loaded_bases.completed(spec) if self.files else spec

    def problems(self, spec: AnySpec) -> list[tuple[str, str]]:
        """Return every reason for which a spec would fail, after the path of its field."""
        return [*self._of_files(spec), *self._of_sinks(spec), *self._of_cluster(spec)]

    def _of_files(self, spec: AnySpec) -> Iterator[tuple[str, str]]:
        if not self.files:
            return
        for field, path in paths_of(spec):
            wanted = _WANTED.get(field.rpartition(".")[2].rstrip("[]0123456789"), Wanted.FILE)
            found = problem(path, wanted)
            if found is not None:
                yield field, found

    def _of_sinks(self, spec: AnySpec) -> Iterator[tuple[str, str]]:
        if not isinstance(spec, SearchSpec | DistillationSpec):
            return
        for index, kind in enumerate(spec.sinks or ()):
            if kind not in self.sinks:
                reason = (
                    f"this service has no {kind} server; leave {kind} out, or let the operator set "
                    "SEARCHD_MLFLOW_TRACKING_URI"
                )
                yield f"sinks[{index}]", reason

    def _of_cluster(self, spec: AnySpec) -> Iterator[tuple[str, str]]:
        if not isinstance(spec, WorkSpec):
            return
        unusable = unusable_gpus(spec)
        if unusable is not None:
            yield unusable
        if self.cluster is None:
            return
        nodes = self.cluster.nodes() or []
        reason = unschedulable_reason(need_of(spec), nodes, self.growth)
        if reason is not None:
            yield "", reason

    def _warnings(self, spec: AnySpec) -> list[str]:
        if self.cluster is None or not isinstance(spec, WorkSpec):
            return []
        nodes = self.cluster.nodes()
        if not nodes:
            return ["the cluster does not answer: its CPUs and GPUs were not checked"]
        waits = waiting_reason(need_of(spec), nodes)
        return [] if waits is None else [waits]


NO_CHECKS = SubmissionChecks()


def paths_of(spec: AnySpec) -> Iterator[tuple[str, Path]]:
    """Yield the paths that a spec names, with their fields."""
    if isinstance(spec, DatasetSpec) and spec.source is not None:
        if spec.shared is None or spec.shared.images is None:
            yield from _walk(spec.source, "", Path)  # the others are written by the service itself
        return
    variants = spec.variants if isinstance(spec, DistillationSpec) else (spec,)
    yield from dict.fromkeys(found for each in variants for found in _paths_of(each))


def _paths_of(spec: AnySpec) -> Iterator[tuple[str, Path]]:
    yield from _walk(spec, "", Path)
    for field, method in _walk(spec, "", MethodSpec):
        classifier = method.options.get("classifier")
        if isinstance(classifier, str):
            yield f"{field}.options.classifier", Path(classifier)


def _walk(value: object, field: str, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Yield every value of a type within a spec, with the path of its field."""
    if isinstance(value, kind):
        yield field, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _walk(getattr(value, name), f"{field}.{name}".lstrip("."), kind)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _walk(each, f"{field}.{name}", kind)
    elif isinstance(value, tuple | list):
        for index, each in enumerate(value):
            yield from _walk(each, f"{field}[{index}]", kind)
