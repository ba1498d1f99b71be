"""What a benchmark compares: a detector and its base, in formats and precisions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from api import schemas
from api.client import ApiError, Client, UnreachableError
from cli.output import quiet_imports
from cli.service import parse_spec
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import FORMATS, ExportFormat, Precision, check_export
from searchd.spec import ExportSpec
from searchd.spec.exports import DYNAMIC

Kind = tuple[ExportFormat, Precision]
TORCH = "torch"
"""The format of the row of a detector as the search measured it."""


@dataclass(slots=True, kw_only=True)
class Row:
    """One line of the result."""

    detector: str
    """Id of the trial."""
    role: str
    """What the trial is in the comparison: detector, or base."""
    format: str
    precision: str
    input: str
    """Size of the images that it takes, or dynamic."""
    ap: float | None = None
    """AP in [0, 1] on the validation split."""
    test_ap: float | None = None
    """AP on the test split; None if there is none."""
    latency_s: float | None = None
    """Median seconds for one image; None if it does not run here."""
    latency_p95_s: float | None = None
    images_per_s: float | None = None
    """Images in a second, one after another."""
    size_bytes: int | None = None
    software: str = ""
    """Runtime and version."""
    reason: str = ""
    """Why it does not run here; empty if it does."""

    @property
    def shown_name(self) -> str:
        """The trial, marked if it is the base."""
        return f"{self.detector} (base)" if self.role == "base" else self.detector


@dataclass(slots=True, kw_only=True)
class Compared:
    """A detector of the comparison."""

    trial: schemas.Detector
    role: str
    best: schemas.Evaluation
    """Its measurement with the best score."""
    exports: list[tuple[Row, schemas.Export]] = field(default_factory=list)
    """Each kind that was requested."""
    rows: list[Row] = field(default_factory=list)
    """Each kind, in the order of the registry."""


def chosen_kinds(text: str) -> list[Kind]:
    """Return the formats and precisions that an option names, in the order of the registry.

    Raises:
        InvalidValueError: There is no such format or precision.
    """
    every = [(name, precision) for name, of in FORMATS.items() for precision in of.precisions]
    if text == "all":
        return every
    wanted = {kind for part in text.split(",") for kind in _kinds(part.strip(), every)}
    return [kind for kind in every if kind in wanted]


def planned(
    client: Client, trial_id: str, kinds: Sequence[Kind], input_: str, cpus: int
) -> list[Compared]:
    """Request every export that is missing, of a detector and of its base.

    Args:
        client: Client of the service.
        trial_id: The trial that trained the detector.
        kinds: Formats and precisions.
        input_: Size of the images that the files take, or dynamic.
        cpus: Number of CPUs of each export.

    Raises:
        ApiError: There is no such trial, or it has no detector.
        InvalidValueError: The input is none.
    """
    parse_spec({"input": input_, "cpus": cpus}, ExportSpec, None)
    detector = client.get_detector(trial_id)
    base_id = detector.lineage[0]
    plan = [_compared(detector, "detector" if base_id != detector.trial_id else "base")]
    if base_id != detector.trial_id:
        plan.append(_compared(client.get_detector(base_id), "base"))
    for each in plan:
        for kind in kinds:
            _request(client, each, kind, input_, cpus)
    return plan


def _kinds(part: str, every: Sequence[Kind]) -> list[Kind]:
    name, _, precision = part.partition(":")
    found = [kind for kind in every if kind[0] == name and precision in ("", kind[1])]
    if not found:
        known = ", ".join(f"{name}:{precision}" for name, precision in every)
        raise InvalidValueError(f"--formats {part!r} is none of all, {known}")
    return found


def _compared(detector: schemas.Detector, role: str) -> Compared:
    best = max(detector.evaluations, key=lambda each: each.score or 0.0)
    return Compared(trial=detector, role=role, best=best)


def _request(client: Client, of: Compared, kind: Kind, input_: str, cpus: int) -> None:
    """Request an export, or note why there is none."""
    format_, precision = kind
    if input_ == DYNAMIC and not FORMATS[format_].dynamic:
        input_ = str(of.best.resolution)
    row = Row(
        detector=of.trial.trial_id,
        role=of.role,
        format=format_,
        precision=precision,
        input=input_,
    )
    of.rows.append(row)
    try:
        check_export(format_, precision, dynamic=input_ == DYNAMIC)
        _check_runs_here(format_)
        fields = {"format": format_, "precision": precision, "input": input_, "cpus": cpus}
        spec = parse_spec(fields, ExportSpec, None)
        of.exports.append((row, client.create_export(of.trial.trial_id, spec)))
    except UnreachableError:
        raise
    except (InvalidValueError, ApiError) as error:  # this format is left out
        row.reason = str(error)


def _check_runs_here(format_: ExportFormat) -> None:
    with quiet_imports():
        # Imported here because it imports torch, which other commands do not need.
        from detection.deployment.opened import format_module

        format_module(format_)
