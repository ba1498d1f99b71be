"""Recommended specs for a data set on this machine: options, machine, speed, files."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Self

import typer

from cli.starting_weights import check_options, start_of
from searchd.domain.errors import ConflictError, InvalidValueError
from searchd.recommend import DataFacts, Machine, Recommendation, recommend
from searchd.recommend.numbers import duration
from searchd.spec import NAME_PATTERN
from searchd.spec.sentences import name_sentence

DEFAULT_BUDGET = "2h"
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
LEAST_BUDGET_S = 300.0

BudgetOption = Annotated[
    str,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="Wall-clock time for everything: base, teachers, trials and controls. A number with a "
        "unit, for example 30m, 2h or 1h30m or 1d; at least 5m. Sizes of detectors, epochs and "
        "trials are chosen to fit it.",
    ),
]
CpusOption = Annotated[
    int | None,
    typer.Option(
        "--cpus",
        min=1,
        help="Number of CPUs that the search may use. All CPUs of this machine by default.",
    ),
]
GpusOption = Annotated[
    int | None,
    typer.Option(
        "--gpus",
        min=0,
        help="Number of GPUs that the search may use. All GPUs of this machine by default.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user chooses of a recommendation."""

    budget: str
    cpus: int | None = None
    gpus: int | None = None
    seed: int = 0
    source: Path | None = None
    config: str | None = None
    pretrained: str | None = None
    licence: str | None = None

    def check(self) -> None:
        """Check what can be checked without reading a file.

        Raises:
            InvalidValueError: An option is invalid, or two exclude each other.
        """
        _ = self.budget_s
        check_options(self.source, self.config, self.pretrained, self.licence)

    def as_json(self) -> dict[str, object]:
        """Return the options as values of JSON, to compare them with those of another run."""
        source = None if self.source is None else str(self.source.absolute())
        return {**asdict(self), "source": source}

    @property
    def budget_s(self) -> float:
        """The time budget in seconds.

        Raises:
            InvalidValueError: The text is not a duration, or too short.
        """
        return read_duration(self.budget)


def check_name(name: str) -> None:
    """Check the name of what a spec is recommended for, before this machine is measured.

    Raises:
        InvalidValueError: It is not a name; the message has one that is.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidValueError(name_sentence(name))


def read_duration(text: str) -> float:
    """Read a duration such as "90m", "2h" or "1h30m".

    Returns:
        Seconds.

    Raises:
        InvalidValueError: The text is not a duration, or shorter than five minutes.
    """
    compact = text.strip().lower().replace(" ", "")
    if not _DURATION.fullmatch(compact):
        raise InvalidValueError(
            f"--budget {text!r} must be a number with a unit, for example 30m, 2h or 1h30m"
        )
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", compact)
    found = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if found < LEAST_BUDGET_S:
        raise InvalidValueError(f"--budget {text!r} is too short for a search; give at least 5m")
    return found


def make(
    name: str,
    dataset: str,
    statistics: Mapping[str, Any] | None,
    class_names: Sequence[str],
    options: Options,
) -> Recommendation:
    """Recommend specs for a checked data set, after measuring this machine for a few seconds.

    Args:
        name: Name of the search.
        dataset: Name of the data set in the service.
        statistics: Statistics of the data set, as its check reports them.
        class_names: Names of the data set's classes, in the order of the labels.
        options: The user's choices.

    Raises:
        CheckpointError: No base can start from the given weights.
        InvalidValueError: An option is invalid, or the data set has no boxes to train on.
    """
    facts = DataFacts.of(statistics)
    start = start_of(options.source, options.config, options.pretrained, class_names)
    if options.licence is not None:
        start = replace(start, licence=options.licence.strip())
    # Imported here since it imports torch, which other commands do not need.
    import torch

    with redirect_stdout(StringIO()):  # mmdet prints which optional data sets it lacks
        from detection.measurement.training_speed import measure_training_speed

    num_gpus = torch.cuda.device_count() if options.gpus is None else options.gpus
    machine = Machine(cpus=options.cpus or os.cpu_count() or 1, gpus=num_gpus)
    speed = measure_training_speed(
        device="cuda" if num_gpus and torch.cuda.is_available() else "cpu",
        num_threads=machine.cpus_per_trial,
    )
    return recommend(
        name,
        dataset,
        facts,
        machine,
        budget_s=options.budget_s,
        seconds=speed.seconds,
        start=start,
        seed=options.seed,
    )


@dataclass(frozen=True, slots=True)
class SpecFiles:
    """The YAML files of a recommendation."""

    pool: Path
    search: Path

    @classmethod
    def below(cls, folder: Path, name: str) -> Self:
        """Return the files of a search of this name."""
        return cls(folder / f"{name}-teachers.yaml", folder / f"{name}.yaml")

    def check_absent(self) -> None:
        """Check that nothing would be overwritten.

        Raises:
            ConflictError: A file exists.
        """
        for path in (self.pool, self.search):
            if path.exists():
                raise ConflictError(f"{path} exists; delete it, or give --overwrite")

    def exist(self) -> bool:
        """Return whether both files exist."""
        return self.pool.exists() and self.search.exists()

    def write(self, found: Recommendation) -> None:
        """Write the specs of pool and search; files that exist are replaced."""
        self.pool.parent.mkdir(parents=True, exist_ok=True)
        self.pool.write_text(found.pool_yaml, encoding="utf-8")
        self.search.write_text(found.search_yaml, encoding="utf-8")


def describe(found: Recommendation) -> str:
    """Describe what will be trained and how long it takes, in a few lines."""
    plan, search = found.plan, found.search
    base = "the detector of --from"
    if plan.size is not None:
        base = f"{plan.size.backbone} with {plan.size.base_channels} channels"
        if search.base.pretrained is not None:
            base += ", pretrained"
    lines = [
        f"Base: {base} at {plan.resolution}, "
        + (
            f"{plan.base_epochs} epochs, about {duration(plan.base_s)}."
            if plan.base_s
            else "evaluated as it is."
        ),
        f"Teachers: {plan.pool_epochs} epochs, about {duration(plan.pool_s)}, beside the base.",
        f"Search: {plan.trials} trials of {plan.trial_epochs} epochs, about "
        f"{duration(plan.trial_s)} each, {search.resources.trials_in_flight} at a time.",
        f"Finish: up to {plan.finished} of the best, {plan.finish_epochs} epochs further, about "
        f"{duration(plan.finish_s)} each; then the control, as long as the best.",
        *plan.notes,
    ]
    return "\n".join(lines)
