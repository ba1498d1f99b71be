"""The check of a data set, as the driver calls it. Its result is plain JSON."""

from dataclasses import asdict
from typing import Any

from detection.data.coco import check_dataset
from searchd.spec import DatasetSpec


def check(spec: DatasetSpec) -> dict[str, Any]:
    """Read every file of a data set.

    Returns:
        `detection.data.inspection.DatasetSummary` as JSON: `class_names`, the counts of each split,
        warnings, repairs and statistics.

    Raises:
        DataError: The data set has faults; the message counts them by kind and names files, records
            and cures of the first ones.
    """
    return asdict(check_dataset(spec))
