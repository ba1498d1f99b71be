"""The port of a sink, and what all of them record of a trial."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from searchd import artifacts
from searchd.domain.errors import SearchdError
from searchd.domain.trial import describe_change
from searchd.messages.reports import Progress
from searchd.store.models import TrialRow

BYTES_PER_MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The run that a sink records."""

    id: str
    name: str
    kind: str
    """search or distillation."""


class Sink(Protocol):
    """Records one run. Called from one thread of its own; it may take as long as it needs, and may
    raise anything. It gets every trial that has ended at least once: after a crash, again."""

    def progress(self, progress: Progress) -> None:
        """Record the losses of a running trial so far."""

    def ended(self, trial: TrialRow) -> None:
        """Record a trial that has ended, with its evaluations, epochs and files."""

    def close(self) -> None:
        """Write what is buffered."""


class SinkPackageError(SearchdError):
    """The package that a sink needs is not installed."""


def package(name: str, extra: str) -> Any:
    """Import the optional package of a sink.

    Raises:
        SinkPackageError: It is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise SinkPackageError(
            f"the package {error.name} is not installed where drivers run: pip install "
            f"'searchd[{extra}]'"
        ) from error


def step_of(progress: Progress) -> int:
    """Return the number of training iterations of a trial so far, which orders its losses."""
    return max(progress.epoch - 1, 0) * progress.num_iterations + progress.iteration


def facts_of(trial: TrialRow) -> dict[str, str]:
    """Return what a trial was, as text."""
    proposal = trial.proposal
    return {
        "trial_id": trial.id,
        "role": trial.role.value,
        "change": describe_change(proposal.change),
        "parent": proposal.parent or "none",
        "teacher": "none" if trial.teacher is None else str(trial.teacher),
        "methods": "of the spec" if proposal.methods is None else str(proposal.methods),
        "seed": str(proposal.seed),
        "attempt": str(trial.attempt),
        "outcome": "none" if trial.outcome is None else trial.outcome.value,
    }


def results_of(trial: TrialRow) -> dict[str, float]:
    """Return what was measured of a trial, by names such as "ap/64x64"."""
    found = {"score": trial.score, "params": trial.params, "macs": trial.base_macs}
    results = {name: float(value) for name, value in found.items() if value is not None}
    for each in trial.evaluations:
        for name in ("ap", "ap50", "ap75", "mask_ap", "latency_s"):
            value = getattr(each, name)
            if value is not None:  # detectors of boxes have no mask AP
                results[f"{name}/{each.resolution}"] = value
    return results


def losses_of(trial: TrialRow) -> Iterator[tuple[int, Mapping[str, float]]]:
    """Yield each epoch of a trial with its losses and its learning rate."""
    for each in trial.epochs:
        losses = {f"epoch/{name}": value for name, value in each.losses.items()}
        yield each.epoch, losses | {"epoch/learning_rate": each.learning_rate}


def links_of(trial: TrialRow) -> list[dict[str, object]]:
    """Return where the files of a trial are stored."""
    return [
        {"name": each.name, "uri": each.uri, "sha256": each.sha256, "size_bytes": each.size_bytes}
        for each in trial.artifacts
    ]


@contextmanager
def local_files(trial: TrialRow, max_mb: float) -> Iterator[list[Path]]:
    """Copies of the files of a trial that are there and not larger than a limit, until the block is
    left.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for each in trial.artifacts:
            if each.deleted_at is None and each.size_bytes <= max_mb * BYTES_PER_MB:
                copy = Path(folder, each.uri.rpartition("/")[2])
                copy.write_bytes(artifacts.read(each.artifact))
                copies.append(copy)
        yield copies
