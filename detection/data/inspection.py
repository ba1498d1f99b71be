"""Checks a whole data set, images included, and reports all findings at once."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detection.data import kinds
from detection.data.documents import read_document
from detection.data.findings import Finding, Findings, Limit, Severity, fault_text, judged
from detection.data.formats.sources import SplitSource, is_inside
from detection.data.image_files import ImageFile, inspect_image
from detection.data.image_paths import cure_for_missing
from detection.data.records import ImageRecord, NormalisedSplit, normalise
from detection.data.samples import Sample, choose_samples
from detection.data.split_comparison import compare_classes, compare_images, report_classes
from detection.data.statistics import statistics
from searchd.domain.errors import DataError
from searchd.spec import MAX_UNREADABLE_SHARE, DatasetSpec

MAX_DETECTIONS = 100
"""Number of detections of an image that COCO AP uses at most."""

Progress = Callable[[int, int], None]
"""Called with the number of images that are read, and the number of all images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSummary:
    """The contents of a checked split."""

    num_images: int
    num_annotations: int
    """Number of annotations, crowds included."""
    num_empty_boxes: int
    """Number of annotations that are left out, since their box has no area or cannot be used."""
    sha256: str | None = None
    """SHA-256 of the annotation file that workers read."""
    left_out: tuple[str, ...] = ()
    """Paths of images in that file that are left out, since they cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """The contents of a checked data set."""

    class_names: tuple[str, ...]
    """Names of the classes, in the order of the labels."""
    train: SplitSummary
    validation: SplitSummary
    test: SplitSummary | None = None
    warnings: tuple[str, ...] = ()
    """One sentence for each kind of warning, with a count."""
    repairs: tuple[str, ...] = ()
    """One sentence for each kind of repair, with a count."""
    statistics: dict[str, Any] | None = None
    """See `detection.data.statistics`."""
    samples: tuple[Sample, ...] = ()
    """Some images with their objects."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """All that a check found."""

    splits: Mapping[str, NormalisedSplit]
    """Splits by name; without those whose annotation file cannot be read."""
    findings: Findings
    image_digests: Mapping[Path, str] = field(default_factory=dict)
    """SHA-256 of each image that can be read."""
    sources: Mapping[str, frozenset[Path]] = field(default_factory=dict)
    """Annotation files of each split."""
    annotation_digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the annotation file of each split in COCO's format."""
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Paths of the images of each split that are left out, since they cannot be read."""
    truncated: frozenset[Path] = frozenset()
    """Images that miss their last bytes and can be read."""

    @property
    def is_accepted(self) -> bool:
        return not self.findings.of(Severity.FAULT)

    def as_json(self) -> dict[str, Any]:
        """Return the result as `searchd dataset check` prints it."""
        return {
            "accepted": self.is_accepted,
            "warnings": [each.as_json() for each in self.findings.of(Severity.WARNING)],
            "faults": [each.as_json() for each in self.findings.of(Severity.FAULT)],
            "repairs": [each.as_json() for each in self.findings.of(Severity.REPAIR)],
            "statistics": self.statistics(),
        }

    def statistics(self) -> dict[str, Any]:
        """Return `detection.data.statistics` of the splits, and numbers of duplicate images."""
        duplicates = {
            "in_two_splits": self.findings.count(kinds.SPLITS_OVERLAP),
            "files_under_two_ids": self.findings.count(kinds.IMAGE_FILE_TWICE),
            "copies_within_a_split": self.findings.count(kinds.IMAGE_COPY),
        }
        return {**statistics(self.splits), "duplicates": duplicates}


def check_dataset(spec: DatasetSpec, *, progress: Progress | None = None) -> DatasetSummary:
    """Read the whole data set, images included, and return a summary.

    Args:
        spec: The data set.
        progress: Called while images are read.

    Raises:
        DataError: The data set has faults. The message counts them by kind, and names files,
            records and cures of the first ones.
    """
    return summary_of(inspect_dataset(spec, progress=progress))


def summary_of(found: Inspection) -> DatasetSummary:
    """Return the summary of a data set that is accepted.

    Raises:
        DataError: The data set has faults.
    """
    faults = found.findings.of(Severity.FAULT)
    if faults:
        raise DataError(fault_text(faults))
    return DatasetSummary(
        class_names=found.splits["train"].class_names,
        **{name: _summary(name, found) for name in found.splits},
        warnings=tuple(map(str, found.findings.of(Severity.WARNING))),
        repairs=tuple(map(str, found.findings.of(Severity.REPAIR))),
        statistics=found.statistics(),
        samples=choose_samples(found.splits),
    )


def inspect_dataset(spec: DatasetSpec, *, progress: Progress | None = None) -> Inspection:
    """Check a data set as `check_dataset` does, and return all findings."""
    sources = {
        name: SplitSource(file=split.annotations, folder=split.images)
        for name, split in spec.splits.items()
    }
    return inspect_splits(
        sources,
        max_empty_share=spec.max_empty_share,
        max_fault_share=spec.max_fault_share,
        max_unreadable_share=spec.max_unreadable_share,
        progress=progress,
    )


def inspect_splits(
    sources: Mapping[str, SplitSource],
    *,
    max_empty_share: float,
    max_fault_share: float,
    max_unreadable_share: float = MAX_UNREADABLE_SHARE,
    root: Path | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Check splits, each alone and all together.

    Args:
        sources: Splits by name; the first one is the train split.
        max_empty_share: See `searchd.spec.DatasetSpec`.
        max_fault_share: See `searchd.spec.DatasetSpec`.
        max_unreadable_share: See `searchd.spec.DatasetSpec`.
        root: Folder that all images must be below, links followed; others are not read.
        progress: Called while images are read.
    """
    findings = Findings()
    digests = {n: _sha256(s.file) for n, s in sources.items() if s.document is None}
    splits = _read_splits(sources, findings)
    if root is not None:
        splits = {name: _inside(split, root, findings) for name, split in splits.items()}
    results = _read_images(splits, progress)
    of_images = {name: _image_findings(split, results) for name, split in splits.items()}
    readable = {name: _readable(split, results) for name, split in splits.items()}
    limits = {
        Limit.EMPTY: max_empty_share,
        Limit.FAULTY: max_fault_share,
        Limit.UNREADABLE: max_unreadable_share,
    }
    for name, split in readable.items():
        of_split = judged(split.findings, split.num_annotations, limits)
        findings.extend(of_split)
        all_found = [*of_split, *of_images[name]]
        has_faults = any(finding.severity is Severity.FAULT for finding in all_found)
        _report_objects(split, has_faults, findings)
    for name, split in splits.items():
        findings.extend(judged(of_images[name], len(split.records), limits))
    left_out = {name: _paths(split) - _paths(readable[name]) for name, split in splits.items()}
    splits = readable
    files = {path: file for path, file in results.items() if isinstance(file, ImageFile)}
    compare_classes(splits, findings)
    report_classes(splits, findings)
    compare_images(splits, files, findings)
    return Inspection(
        splits=splits,
        findings=findings,
        image_digests={path: file.digest for path, file in files.items()},
        sources={n: source.sources or frozenset([source.file]) for n, source in sources.items()},
        annotation_digests={name: digest for name, digest in digests.items() if digest},
        truncated=frozenset(p for p, file in files.items() if file.lost_share is not None),
        left_out={name: tuple(sorted(paths)) for name, paths in left_out.items()},
    )


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read, which the check reports."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return ""


def _paths(split: NormalisedSplit) -> set[str]:
    return {str(record.path) for record in split.records}


def _readable(split: NormalisedSplit, results: Mapping[Path, ImageFile | str]) -> NormalisedSplit:
    """Return the split without the images that cannot be read."""
    kept = tuple(r for r in split.records if isinstance(results[r.path], ImageFile))
    return replace(split, records=kept)


def _inside(split: NormalisedSplit, root: Path, findings: Findings) -> NormalisedSplit:
    """Return the split without images outside a folder, which are reported."""
    outside = [record for record in split.records if not is_inside(record.path, root)]
    for record in outside:
        problem = f"{record.path} is outside {root}"
        findings.add(kinds.IMAGE_NAME, split.file, f"image {record.image_id}", problem)
    if not outside:
        return split
    kept = tuple(record for record in split.records if record not in outside)
    return replace(split, records=kept)


def _read_splits(
    sources: Mapping[str, SplitSource], findings: Findings
) -> dict[str, NormalisedSplit]:
    splits = {}
    for name, source in sources.items():
        try:
            document = source.document or read_document(source.file)
        except DataError as error:
            problem = str(error).removeprefix(f"{source.file}: ")
            findings.add(kinds.DOCUMENT, source.file, "", problem)
        else:
            splits[name] = normalise(document, source.file, source.folder, masks=True)
            splits[name].findings.extend(source.findings or ())
    return splits


def _report_objects(split: NormalisedSplit, has_faults: bool, findings: Findings) -> None:
    """Report splits and images without objects, and images with very many.

    Other faults of a split explain why it has no objects.
    """
    empty = [record for record in split.records if not len(record.labels)]
    if len(empty) == len(split.records):
        if not has_faults:
            findings.add(kinds.NO_OBJECTS, split.file, "", _nothing(split))
        return
    for record in empty:
        where = f"image {record.image_id}"
        findings.add(kinds.IMAGES_WITHOUT_OBJECTS, split.file, where, "has no object")
    for record in split.records:
        if len(record.labels) > MAX_DETECTIONS:
            problem = f"has {len(record.labels)} objects"
            findings.add(kinds.MANY_BOXES, split.file, f"image {record.image_id}", problem)


def _nothing(split: NormalisedSplit) -> str:
    if not split.records:
        return "there are no images and no annotations that can be used"
    return "there are no annotations (crowds do not count) that can be used"


def _read_images(
    splits: Mapping[str, NormalisedSplit], progress: Progress | None
) -> dict[Path, ImageFile | str]:
    """Decode every image file once; see `_read_image`. Threads are used, as decoding is C code."""
    paths = list(dict.fromkeys(r.path for split in splits.values() for r in split.records))
    results: dict[Path, ImageFile | str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for number, (path, result) in enumerate(
            zip(paths, threads.map(_read_image, paths), strict=True), start=1
        ):
            results[path] = result
            if progress is not None:
                progress(number, len(paths))
    return results


def _image_findings(split: NormalisedSplit, results: Mapping[Path, ImageFile | str]) -> Findings:
    findings = Findings()
    for record in split.records:
        _report_image(split, record, results[record.path], findings)
    return findings


def _read_image(path: Path) -> ImageFile | str:
    """Return the facts about an image; the reason if it cannot be read, empty if it is missing."""
    try:
        return inspect_image(path)
    except FileNotFoundError:
        return ""
    except DataError as error:
        return str(error).removeprefix(f"{path}: the image cannot be read: ")


def _report_image(
    split: NormalisedSplit, record: ImageRecord, result: ImageFile | str, findings: Findings
) -> None:
    where = f"image {record.image_id}"
    if result == "":
        problem, cure = (
            f"the image file is missing: {record.path}",
            cure_for_missing(split.folder, record.path),
        )
        findings.add(
            kinds.IMAGE_MISSING, split.file, where, problem, value=str(record.path), cure=cure
        )
    elif isinstance(result, str):
        problem = f"the image cannot be read: {record.path}: {result}"
        findings.add(kinds.IMAGE_UNREADABLE, split.file, where, problem, value=str(record.path))
    else:
        _report_readable(split, record, result, findings)


def _report_readable(
    split: NormalisedSplit, record: ImageRecord, image: ImageFile, findings: Findings
) -> None:
    where, size = f"image {record.image_id}", f"{image.width}x{image.height}"
    recorded = f"{record.width}x{record.height}"
    if (image.width, image.height) != (record.width, record.height):
        is_stored = image.stored_size == (record.width, record.height)
        kind = kinds.IMAGE_ORIENTATION if is_stored else kinds.IMAGE_SIZE
        shown_as = f" as shown (EXIF orientation {image.orientation})" if is_stored else ""
        problem = f"{record.path} has {size} pixels{shown_as}, the record says {recorded}"
        findings.add(kind, split.file, where, problem, value=recorded)
    if image.lost_share is not None:
        problem = f"{record.path} misses its last bytes ({image.lost_share:.2%} of its pixels)"
        findings.add(kinds.IMAGE_TAIL, split.file, where, problem, value=str(record.path))
    if image.is_deep:
        problem = f"{record.path}: the brightest pixel is {image.brightest} of 255"
        findings.add(kinds.IMAGE_DEEP, split.file, where, problem, value=image.brightest)


def _summary(name: str, found: Inspection) -> SplitSummary:
    split = found.splits[name]
    return SplitSummary(
        num_images=len(split.records),
        num_annotations=split.num_annotations,
        num_empty_boxes=split.num_left_out,
        sha256=found.annotation_digests.get(name),
        left_out=found.left_out.get(name, ()),
    )


def record_faults(findings: Iterable[Finding]) -> list[Finding]:
    """Return the faults that leave a split unusable, which are all but those of annotations."""
    return [f for f in findings if f.severity is Severity.FAULT and f.kind.limit is None]
