"""Makes validation and test splits of images: by seed, stratified by class, groups kept together.

`assign` is a pure function of its arguments.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detection.data.documents import Document
from detection.data.record_ids import record_id
from searchd.domain.errors import InvalidValueError


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlan:
    """How splits that a data set does not have are made of its train split."""

    validation_share: float = 0.2
    """Share of the images for the validation split, above 0 and below 1."""
    test_share: float | None = None
    """Share of the images for the test split, from 0 to below 1. By default 0.1 if a validation
    split is made too, else 0."""
    seed: int = 0
    """Seed of the draw."""
    group_by: str | None = None
    """Regular expression on `file_name`; images with an equal match stay in one split. The match
    is the first group if there is one, else all that matched. Other images are single. None: the
    images of a sequence (`video_id`) stay in one split, and others are single."""


def assign(
    labels: Sequence[Iterable[object]],
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    groups: Sequence[object] | None = None,
) -> list[str]:
    """Assign images to splits so that each split has its share of the objects of each class.

    Groups are drawn in random order, those with the rarest class first. Each goes to the split that
    lacks most of this class, relative to its share, and then most images.

    Args:
        labels: Class of each object of each image, in any form.
        shares: Share of the images of each split, by name; the sum is 1.
        seed: Seed of the draw.
        groups: Group of each image. By default each image is a group.

    Returns:
        The split of each image.

    Raises:
        InvalidValueError: A split with a share gets no image.
    """
    members: dict[object, list[int]] = {}
    for index in range(len(labels)):
        members.setdefault(index if groups is None else groups[index], []).append(index)
    counts = [Counter(x for i in images for x in labels[i]) for images in members.values()]
    drawn = _assign_groups(counts, [len(images) for images in members.values()], shares, seed)
    found = [""] * len(labels)
    for name, images in zip(drawn, members.values(), strict=True):
        for index in images:
            found[index] = name
    empty = [name for name, share in shares.items() if share > 0 and name not in found]
    if empty:
        raise InvalidValueError(
            f"{len(labels)} images in {len(members)} groups are too few for a {empty[0]} split"
        )
    return found


def partition(
    document: Document, shares: Mapping[str, float], *, seed: int = 0, group_by: str | None = None
) -> dict[str, Document]:
    """Divide a document in COCO's format into splits; see `assign`.

    Annotations of unknown images stay in the first split, where the check reports them.

    Raises:
        InvalidValueError: The pattern is not a regular expression, or a split gets no image.
    """
    images = document["images"]
    keys = [record_id(image.get("id")) for image in images]
    labels: dict[object, list[object]] = {key: [] for key in keys}
    for annotation in document["annotations"]:
        category = record_id(annotation.get("category_id"))
        labels.get(record_id(annotation.get("image_id")), []).append(category)
    names = assign(
        [labels[key] for key in keys], shares, seed=seed, groups=_groups(images, group_by)
    )
    of_image = dict(zip(keys, names, strict=True))
    first = next(iter(shares))
    return {
        name: {
            **document,
            "images": [image for image, split in zip(images, names, strict=True) if split == name],
            "annotations": [
                annotation
                for annotation in document["annotations"]
                if of_image.get(record_id(annotation.get("image_id")), first) == name
            ],
        }
        for name in shares
    }


def _assign_groups(
    counts: Sequence[Counter[object]], sizes: Sequence[int], shares: Mapping[str, float], seed: int
) -> list[str]:
    total = sum(counts, start=Counter[object]())
    wanted = {name: _scaled(total, share) for name, share in shares.items()}
    free = {name: share * sum(sizes) for name, share in shares.items()}
    rarest = [min(c, key=lambda label: (total[label], str(label)), default=None) for c in counts]
    found = [""] * len(counts)
    for group in _order(counts, total, rarest, seed):
        label = rarest[group]
        lacks = {name: _lack(name, label, wanted, free, shares) for name in shares}
        name = max(lacks, key=lambda each: lacks[each])
        found[group] = name
        free[name] -= sizes[group]
        for each, count in counts[group].items():
            wanted[name][each] -= count
    return found


def _order(
    counts: Sequence[Counter[object]],
    total: Counter[object],
    rarest: Sequence[object],
    seed: int,
) -> list[int]:
    """Return the groups in random order, those with the rarest class first, empty ones last."""
    shuffled: list[int] = np.random.default_rng(seed).permutation(len(counts)).tolist()
    last = total.total() + 1
    return sorted(shuffled, key=lambda group: total[rarest[group]] if counts[group] else last)


def _lack(
    name: str,
    label: object,
    wanted: Mapping[str, Mapping[object, float]],
    free: Mapping[str, float],
    shares: Mapping[str, float],
) -> tuple[float, float]:
    """Return how much of a class, and how many images, a split lacks relative to its share."""
    share = shares[name]
    if share == 0:
        return (-np.inf, -np.inf)
    return (wanted[name].get(label, 0.0) / share, free[name] / share)


def _scaled(counts: Mapping[object, int], share: float) -> dict[object, float]:
    return {label: share * count for label, count in counts.items()}


def _groups(images: Sequence[Mapping[str, Any]], group_by: str | None) -> list[object]:
    """Return the group of each image: its match of the pattern, or its sequence or id."""
    if group_by is None:
        return [_sequence(image) for image in images]
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise InvalidValueError(
            f"group_by={group_by!r} is no regular expression: {error}"
        ) from error
    return [_group(image, pattern) for image in images]


def _sequence(image: Mapping[str, Any]) -> object:
    video = record_id(image.get("video_id"))
    return ("single", record_id(image.get("id"))) if video is None else ("video", video)


def _group(image: Mapping[str, Any], pattern: re.Pattern[str]) -> object:
    match = pattern.search(str(image.get("file_name", "")))
    if match is None:
        return ("single", record_id(image.get("id")))
    return match.group(1) if pattern.groups else match.group()
