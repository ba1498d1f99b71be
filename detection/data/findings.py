"""What the check of a data set found: faults, repairs and warnings, counted by kind with examples.

A fault refuses the data set. A repair changes or leaves out a record when it is read; the files
stay as they are. A warning changes nothing.
"""

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_EXAMPLES = 20
"""Number of records that a report names for each kind."""
MAX_KEPT_EXAMPLES = 100_000
"""Number of records that are kept for each kind, for the list of all repairs."""
MAX_TEXT_EXAMPLES = 3
"""Number of records that the text of an error names for each kind."""
MAX_CHARACTERS = 600
"""Largest length of the sentence about one record, in characters."""
MAX_TEXT_CHARACTERS = 4000
"""Largest length of the text of an error, in characters."""


class Severity(StrEnum):
    """Effect of a finding on the data set."""

    FAULT = "fault"
    REPAIR = "repair"
    WARNING = "warning"


class Limit(StrEnum):
    """Limit on how many annotations, or images, of a split a kind of finding may leave out."""

    EMPTY = "empty"
    """`DatasetSpec.max_empty_share`, and always one: boxes that enclose nothing."""
    FAULTY = "faulty"
    """`DatasetSpec.max_fault_share`: annotations that cannot be meant."""
    UNREADABLE = "unreadable"
    """`DatasetSpec.max_unreadable_share`: images whose file is missing or cannot be read."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding."""

    name: str
    severity: Severity
    """Severity before a limit is applied."""
    title: str
    """Description that a count follows, as "images are missing"."""
    cure: str
    """Advice to the user, unless an example has its own."""
    limit: Limit | None = None
    """Limit for kinds that leave out annotations or images; None for all others."""


@dataclass(frozen=True, slots=True)
class Example:
    """One record with a finding."""

    file: str
    """Path of the annotation file, or of the image."""
    record: str
    """The record in the file, as "annotation 3"; empty for a finding of the whole file."""
    problem: str
    """Sentence about this record."""
    value: str
    """The value at fault, shortened; empty if a value is missing."""
    cure: str
    """Advice to the user."""

    def __str__(self) -> str:
        of_record = self.record and self.problem.startswith("has ")
        named = f"{self.record} {self.problem}" if of_record else self.problem
        parts = (self.file, "" if of_record else self.record, named)
        return ": ".join(part for part in parts if part)


@dataclass(slots=True)
class Finding:
    """All findings of one kind."""

    kind: Kind
    severity: Severity
    count: int = 0
    examples: list[Example] = field(default_factory=list)
    """The first `MAX_KEPT_EXAMPLES` records."""

    def as_json(self) -> dict[str, Any]:
        """Return the finding as plain JSON."""
        return {
            "kind": self.kind.name,
            "count": self.count,
            "message": str(self),
            "examples": [
                {name: getattr(each, name) for name in Example.__slots__}
                for each in self.examples[:MAX_EXAMPLES]
            ],
        }

    def __str__(self) -> str:
        return f"{self.kind.title}: {self.count}"


class Findings:
    """Collects findings by kind, in the order of their first occurrence."""

    def __init__(self) -> None:
        self._of_kind: dict[tuple[str, Severity], Finding] = {}

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._of_kind.values())

    def add(
        self,
        kind: Kind,
        file: object,
        record: str,
        problem: str,
        *,
        value: object = "",
        cure: str = "",
    ) -> None:
        """Count a finding, and keep it as an example if it is among the first.

        Args:
            kind: Kind of the finding.
            file: Path of the file.
            record: The record, as "annotation 3".
            problem: Sentence about this record.
            value: The value at fault.
            cure: Advice; the kind's by default.
        """
        finding = self._find(kind, kind.severity)
        finding.count += 1
        if len(finding.examples) < MAX_KEPT_EXAMPLES:
            text = value[:MAX_CHARACTERS] if isinstance(value, str) else shown(value)
            sentence = problem if len(problem) <= MAX_CHARACTERS else problem[:MAX_CHARACTERS] + "…"
            finding.examples.append(Example(str(file), record, sentence, text, cure or kind.cure))

    def extend(self, others: Iterable[Finding]) -> None:
        """Add all findings of another collection."""
        for other in others:
            finding = self._find(other.kind, other.severity)
            finding.count += other.count
            free = MAX_KEPT_EXAMPLES - len(finding.examples)
            finding.examples.extend(other.examples[:free])

    def of(self, severity: Severity) -> list[Finding]:
        """Return the findings of a severity."""
        return [finding for finding in self if finding.severity is severity]

    def count(self, kind: Kind) -> int:
        """Return the number of findings of a kind."""
        return sum(finding.count for finding in self if finding.kind is kind)

    def _find(self, kind: Kind, severity: Severity) -> Finding:
        return self._of_kind.setdefault((kind.name, severity), Finding(kind, severity))


def judged(
    findings: Iterable[Finding], num_records: int, limits: Mapping[Limit, float]
) -> list[Finding]:
    """Apply the limits to the findings of one split.

    Args:
        findings: Findings of the split, all about annotations or all about images.
        num_records: Number of annotations, or of images, of the split.
        limits: Largest share of them that may be left out, in [0, 1].

    Returns:
        The findings with their final severity: a fault above the limit, else a repair.
    """
    return [_judged(finding, num_records, limits) for finding in findings]


def _judged(finding: Finding, num_records: int, limits: Mapping[Limit, float]) -> Finding:
    limit = finding.kind.limit
    if limit is None:
        return finding
    allowed = limits[limit] * num_records
    if limit is Limit.EMPTY:
        allowed = max(1.0, allowed)
    severity = Severity.REPAIR if finding.count <= allowed else Severity.FAULT
    return Finding(finding.kind, severity, finding.count, finding.examples)


def fault_text(faults: Sequence[Finding]) -> str:
    """Return one readable text about faults: counts by kind, then examples with their cures."""
    counts = "; ".join(str(fault) for fault in faults)
    lines = [line for fault in faults for line in _lines(fault)]
    text = lines[0] if len(lines) == 1 else "\n".join([counts, *lines])
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    return text[: MAX_TEXT_CHARACTERS - 1] + "…"


def _lines(fault: Finding) -> Iterator[str]:
    for example in fault.examples[:MAX_TEXT_EXAMPLES]:
        yield f"{example}; {example.cure}" if example.cure else str(example)
    if fault.count > MAX_TEXT_EXAMPLES:
        yield f"... and {fault.count - MAX_TEXT_EXAMPLES} more"


def shown(value: object) -> str:
    """Return a short text of a value for messages."""
    return reprlib.repr(value)
