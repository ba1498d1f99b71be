"""The check of a data set, as the driver calls it. Its result is plain JSON."""

from dataclasses import asdict
from typing import Any

from detection.data.coco import check_dataset
from searchd.spec import DatasetSpec


def check(spec: DatasetSpec) -> dict[str, Any]:
    """Read every file of a data set.

    Returns:
        `detection.data.coco.DatasetSummary` as JSON: `class_names`, and the counts of each split.

    Raises:
        DataError: The data set breaks a rule; the error names the file and the record.
    """
    return asdict(check_dataset(spec))
