"""Checks a data set that is given by paths, in any format, before it is registered."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from detection.data import kinds
from detection.data.documents import read_document
from detection.data.findings import Findings
from detection.data.formats.detect import read_sources
from detection.data.formats.sources import TEST, TRAIN, VALIDATION, SplitSource
from detection.data.inspection import Inspection, Progress, inspect_splits
from detection.data.splits import SplitPlan, partition
from searchd.domain.errors import DataError, InvalidValueError
from searchd.spec import MAX_EMPTY_SHARE, MAX_FAULT_SHARE, MAX_UNREADABLE_SHARE, DataFormat

DEFAULT_TEST_SHARE = 0.1
"""Share of the images of a test split that is made with a validation split."""


def inspect_paths(
    paths: Sequence[Path],
    *,
    data_format: DataFormat | None = None,
    plan: SplitPlan | None = None,
    max_empty_share: float = MAX_EMPTY_SHARE,
    max_fault_share: float = MAX_FAULT_SHARE,
    max_unreadable_share: float = MAX_UNREADABLE_SHARE,
    root: Path | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Read a data set in any format, make the splits that it lacks, and check it.

    A format that cannot be read is a fault in the result, not an error.

    Args:
        paths: Files and folders of the data set.
        data_format: Format; found by looking if None.
        plan: How missing splits are made.
        max_empty_share: See `searchd.spec.DatasetSpec`.
        max_fault_share: See `searchd.spec.DatasetSpec`.
        max_unreadable_share: See `searchd.spec.DatasetSpec`.
        root: Folder that all images must be below, links followed; others are not read.
        progress: Called while images are read.

    Raises:
        InvalidValueError: The plan cannot be carried out.
    """
    try:
        sources = read_sources(paths, data_format, root=root)
        sources = with_missing_splits(sources, plan or SplitPlan())
    except DataError as error:
        findings = Findings()
        findings.add(kinds.DOCUMENT, paths[0], "", str(error).removeprefix(f"{paths[0]}: "))
        return Inspection(splits={}, findings=findings)
    return inspect_splits(
        sources,
        max_empty_share=max_empty_share,
        max_fault_share=max_fault_share,
        max_unreadable_share=max_unreadable_share,
        root=root,
        progress=progress,
    )


def with_missing_splits(
    sources: Mapping[str, SplitSource], plan: SplitPlan
) -> dict[str, SplitSource]:
    """Return the splits, with those that are missing made of the train split.

    Raises:
        DataError: The annotation file of the train split cannot be read.
        InvalidValueError: A share is not in its range, or a split gets no image.
    """
    if TRAIN not in sources:
        sources = {TRAIN: next(iter(sources.values())), **dict(list(sources.items())[1:])}
    shares = _shares(sources, plan)
    if len(shares) == 1:
        return dict(sources)
    train = sources[TRAIN]
    document = train.document or read_document(train.file)
    parts = partition(document, shares, seed=plan.seed, group_by=plan.group_by)
    made = {name: replace(train, document=part, findings=None) for name, part in parts.items()}
    made[TRAIN] = replace(made[TRAIN], findings=train.findings)
    found = {**sources, **made}
    return {name: found[name] for name in (TRAIN, VALIDATION, TEST) if name in found}


def _shares(sources: Mapping[str, SplitSource], plan: SplitPlan) -> dict[str, float]:
    """Return the share of each split that is made, the train split included."""
    makes_validation = VALIDATION not in sources
    test = plan.test_share
    if test is None:
        test = DEFAULT_TEST_SHARE if makes_validation else 0.0
    validation = plan.validation_share if makes_validation else 0.0
    if TEST in sources:
        test = 0.0
    if (makes_validation and validation <= 0) or test < 0 or validation + test >= 1:
        raise InvalidValueError(
            f"validation_share={plan.validation_share} must be above 0, test_share={test} at least "
            "0, and their sum below 1"
        )
    shares = {TRAIN: 1 - validation - test, VALIDATION: validation, TEST: test}
    return {name: share for name, share in shares.items() if share > 0}
