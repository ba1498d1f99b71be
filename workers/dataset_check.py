"""The check of a data set, as the driver calls it. Its result is plain JSON."""

from dataclasses import asdict
from typing import Any

from detection.data.imports import import_dataset
from detection.data.inspection import check_dataset
from detection.data.shared_files import publish, pull
from searchd.spec import DatasetSpec


def check(spec: DatasetSpec) -> dict[str, Any]:
    """Read every file of a data set.

    Returns:
        `detection.data.inspection.DatasetSummary` as JSON: `class_names`, the counts of each split,
        warnings, repairs, statistics and samples.

    Raises:
        DataError: The data set has faults; the message counts them by kind and names files, records
            and cures of the first ones.
    """
    if spec.source is not None:
        copied = pull(spec.shared, spec.source.folder) if spec.shared is not None else {}
        summary = asdict(import_dataset(spec, spec.source))
        return summary if spec.shared is None else publish(spec, summary, copied)
    return asdict(check_dataset(spec))
