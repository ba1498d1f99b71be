"""The check of a data set as the driver calls it: everything JSON."""

from dataclasses import asdict
from typing import Any

from detection.data.coco import check_dataset
from searchd.spec import DatasetSpec


def check(spec: DatasetSpec) -> dict[str, Any]:
    """Read every file of a data set.

    Returns:
        `detection.data.coco.DatasetSummary` as JSON: class_names, and counts of each split.

    Raises:
        DataError: A rule is broken; names the file and the record.
    """
    return asdict(check_dataset(spec))
