"""Turns a data set in any format into COCO files, which the service stores when it checks it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from detection.data.coco_documents import coco_document
from detection.data.inspection import DatasetSummary, Inspection, Progress, summary_of
from detection.data.paths import inspect_paths
from detection.data.splits import SplitPlan
from searchd import artifacts
from searchd.spec import DatasetSource, DatasetSpec, SplitSpec


def import_dataset(
    spec: DatasetSpec, source: DatasetSource, *, progress: Progress | None = None
) -> DatasetSummary:
    """Check a data set at its source and write the annotation files of its splits.

    The files have the records as they are trained on: repaired, clipped, renumbered. `info` has the
    SHA-256 of the source. A test split is written beside the others. Images stay where they are.

    Args:
        spec: The data set; annotation files are written where its splits say.
        source: Paths of the data set.
        progress: Called while images are read.

    Raises:
        DataError: The data set has faults, or an image is outside the image folder.
    """
    found = inspect_paths(
        source.paths,
        data_format=source.format,
        plan=SplitPlan(
            validation_share=source.validation_share,
            test_share=source.test_share,
            seed=source.seed,
            group_by=source.group_by,
        ),
        max_empty_share=spec.max_empty_share,
        max_fault_share=spec.max_fault_share,
        max_unreadable_share=spec.max_unreadable_share,
        root=source.folder,
        progress=progress,
    )
    summary = summary_of(found)
    digests = {name: source_digest(name, found) for name in found.splits}
    written = {}
    for name, split in found.splits.items():
        target = target_of(spec, name)
        info = {"source": str(split.file), "source_sha256": digests[name]}
        document = {"info": info, **coco_document(split.records, split.class_names, target.images)}
        content = json.dumps(document, ensure_ascii=False).encode()
        stored = artifacts.write(str(target.annotations), content, name=f"{name}.json")
        written[name] = replace(getattr(summary, name), sha256=stored.sha256, left_out=())
    return replace(summary, **written)


def source_digest(name: str, found: Inspection) -> str:
    """Return the SHA-256 over the contents of a split's annotation files and images.

    It is the digest of one line per file: the path and the file's SHA-256, in the order of paths.
    """
    files: dict[str, str] = {str(path): _sha256(path) for path in sorted(found.sources[name])}
    for record in found.splits[name].records:
        files[str(record.path)] = found.image_digests[record.path]
    lines = (f"{path} {digest}\n" for path, digest in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"


def target_of(spec: DatasetSpec, name: str) -> SplitSpec:
    """Return where a split is written; a test split that is new, beside the train split."""
    beside = spec.train.annotations.with_name(f"{name}.json")
    return spec.splits.get(name) or SplitSpec(annotations=beside, images=spec.train.images)
