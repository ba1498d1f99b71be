"""Compares the splits of a data set: their classes, and images that are in more than one place."""

from collections.abc import Mapping
from pathlib import Path

from detection.data import kinds
from detection.data.findings import Findings, Kind
from detection.data.image_files import ImageFile
from detection.data.records import ImageRecord, NormalisedSplit
from detection.data.statistics import objects_by_label


def compare_classes(splits: Mapping[str, NormalisedSplit], findings: Findings) -> None:
    """Report splits whose classes differ from those of the first split."""
    all_splits = [s for s in splits.values() if not s.findings.count(kinds.CATEGORY_RECORD)]
    for other in all_splits[1:]:
        first = all_splits[0]
        if other.class_names != first.class_names:
            problem = (
                f"the categories differ from those of {first.file}: {_difference(first, other)}; "
                "both splits need the same ids and names"
            )
            findings.add(kinds.CLASSES_DIFFER, other.file, "", problem, value=_ids(other))
        elif other.category_ids != first.category_ids:
            problem = f"the categories have other ids than in {first.file}: {_ids(other)}"
            findings.add(kinds.CATEGORY_IDS_DIFFER, other.file, "", problem, value=_ids(other))


def report_classes(splits: Mapping[str, NormalisedSplit], findings: Findings) -> None:
    """Report classes without objects in a split."""
    for name, split in splits.items():
        counts = objects_by_label(split)
        for label, count in enumerate(counts):
            if count == 0 and any(counts):  # a split without objects is a fault of its own
                _report_class(name, split, label, findings)


def compare_images(
    splits: Mapping[str, NormalisedSplit], files: Mapping[Path, ImageFile], findings: Findings
) -> None:
    """Report images that occur twice, in one split or in two.

    Args:
        splits: Splits by name.
        files: Facts about the images that can be read, by path.
        findings: Receives the findings.
    """
    seen: dict[str, tuple[str, ImageRecord]] = {}
    for name, split in splits.items():
        for record in split.records:
            for key in _keys(record, split, files):
                if key in seen:
                    _report_copy(name, split, record, seen[key], findings)
                    break
            for key in _keys(record, split, files):
                seen.setdefault(key, (name, record))


def _difference(first: NormalisedSplit, other: NormalisedSplit) -> str:
    missing = [name for name in first.class_names if name not in other.class_names]
    extra = [name for name in other.class_names if name not in first.class_names]
    parts = [
        *([f"missing {', '.join(missing)}"] if missing else []),
        *([f"only here {', '.join(extra)}"] if extra else []),
    ]
    return "; ".join(parts) or f"another order, {_ids(other)} instead of {_ids(first)}"


def _ids(split: NormalisedSplit) -> str:
    pairs = zip(split.category_ids, split.class_names, strict=True)
    return ", ".join(f"{identity}={name}" for identity, name in pairs)


def _report_class(name: str, split: NormalisedSplit, label: int, findings: Findings) -> None:
    is_root = label == split.root_class
    kind: Kind = kinds.ROOT_CLASS if is_root else kinds.CLASS_WITHOUT_OBJECTS
    class_name = split.class_names[label]
    unlearnt = "; it cannot be learnt" if name == "train" else ""
    problem = f"class {class_name!r} has no object in the {name} split{unlearnt}"
    where = f"category {split.category_ids[label]}"
    findings.add(kind, split.file, where, problem, value=class_name)


def _keys(
    record: ImageRecord, split: NormalisedSplit, files: Mapping[Path, ImageFile]
) -> list[str]:
    """Return what makes two image records the same image."""
    keys = [f"path {record.path}"]
    if record.path.is_relative_to(split.folder):
        keys.append(f"id {record.image_id} {record.path.relative_to(split.folder)}")
    if record.path in files:
        keys.append(f"content {files[record.path].digest}")
    return keys


def _report_copy(
    name: str,
    split: NormalisedSplit,
    record: ImageRecord,
    first: tuple[str, ImageRecord],
    findings: Findings,
) -> None:
    other_name, other = first
    where, value = f"image {record.image_id}", str(record.path)
    if other_name != name:
        problem = f"{record.path} is image {other.image_id} of the {other_name} split"
        findings.add(kinds.SPLITS_OVERLAP, split.file, where, problem, value=value)
    elif other.path == record.path:
        problem = f"{record.path} is also image {other.image_id}"
        findings.add(kinds.IMAGE_FILE_TWICE, split.file, where, problem, value=value)
    else:
        problem = f"{record.path} has the content of {other.path}"
        findings.add(kinds.IMAGE_COPY, split.file, where, problem, value=value)
