"""`searchd dataset check`: checks a data set on this machine, without a service."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import FAILED
from cli.output import Format, FormatOption, show_json, show_rows
from searchd.spec import (
    MAX_EMPTY_SHARE,
    MAX_FAULT_SHARE,
    MAX_UNREADABLE_SHARE,
    VALIDATION_SHARE,
    DataFormat,
)

PROGRESS_SECONDS = 5.0
"""Seconds between two lines of progress."""
SHOWN_EXAMPLES = 20
"""Records that the table names for each kind of finding."""

Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH...",
        help="A folder with the data set in COCO, YOLO, Pascal VOC, CVAT or Label Studio format; "
        "or COCO annotation files (train, validation, test), each followed by its image folder; or "
        "the data.yaml of a YOLO data set.",
    ),
]


FormatOfData = Annotated[
    DataFormat | None,
    typer.Option(
        "--data-format", help="Format of the annotations. By default it is found by looking."
    ),
]
ValidationShare = Annotated[
    float,
    typer.Option(
        help="Share of the train images that become the validation split, above 0 and below 1, if "
        "the data set has no validation split."
    ),
]
TestShare = Annotated[
    float | None,
    typer.Option(
        help="Share of the train images that become the test split if the data set has none. "
        "By default 0.1 if a validation split is made too, else 0.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the draw when splits are made.")]
GroupBy = Annotated[
    str | None,
    typer.Option(
        help="Regular expression on the image's file name. Images with the same match, or the same "
        "first group of it, stay in one split when splits are made, for example frames of a video: "
        r"'^(clip\d+)_'. By default images with the same video_id stay together, and each other "
        "one is drawn by itself.",
    ),
]
EmptyShare = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Largest share of a split's annotations that may be left out since their box has no "
        "area, a side below one pixel, or is outside the image. One is always allowed.",
    ),
]
FaultShare = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Largest share of a split's annotations that may be left out since they cannot be "
        "meant: NaN, a negative width, an unknown image or class. By default any is refused.",
    ),
]


UnreadableShare = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Largest share of a split's images that may be left out, with their objects, since "
        "their file is missing or cannot be read. By default any is refused.",
    ),
]


Repair = Annotated[
    Path | None,
    typer.Option(
        "--repair",
        metavar="FOLDER",
        help="New folder to which an accepted data set is written in COCO format with all repairs "
        "applied and all splits made, with its images (hard links, or copies on another disk) and "
        "changes.txt, which lists every change. By default nothing is written.",
    ),
]


def check(
    paths: Paths,
    data_format: FormatOfData = None,
    validation_share: ValidationShare = VALIDATION_SHARE,
    test_share: TestShare = None,
    seed: Seed = 0,
    group_by: GroupBy = None,
    max_empty_share: EmptyShare = MAX_EMPTY_SHARE,
    max_fault_share: FaultShare = MAX_FAULT_SHARE,
    max_unreadable_share: UnreadableShare = MAX_UNREADABLE_SHARE,
    repair: Repair = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Check a data set on this machine. Needs no service, and changes no file.

    Reads all annotations and images, and reports faults, which refuse the data set, repairs, which
    are applied when it is read, warnings and statistics. Exits with 0 if the data set is accepted,
    else with 1.
    """
    from detection.data.paths import inspect_paths
    from detection.data.repair import write_repaired
    from detection.data.splits import SplitPlan

    plan = SplitPlan(
        validation_share=validation_share, test_share=test_share, seed=seed, group_by=group_by
    )
    inspection = inspect_paths(
        [path.absolute() for path in paths],
        data_format=data_format,
        plan=plan,
        max_empty_share=max_empty_share,
        max_fault_share=max_fault_share,
        max_unreadable_share=max_unreadable_share,
        progress=_progress(),
    )
    found = inspection.as_json()
    if repair is not None and found["accepted"]:
        repaired = write_repaired(inspection, repair.absolute())
        found["repaired"] = {
            "annotations": list(map(str, repaired.annotations)),
            "changes": list(repaired.changes),
        }
    if output is Format.JSON:
        show_json(found)
    else:
        _show(found)
    if not found["accepted"]:
        raise typer.Exit(FAILED)


def _progress() -> Callable[[int, int], None]:
    """Return a function that reports progress on stderr every few seconds."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            typer.echo(f"read {done} of {total} images", err=True)

    return report


def _show(found: dict[str, Any]) -> None:
    typer.echo("accepted" if found["accepted"] else "refused")
    for title in ("faults", "repairs", "warnings"):
        for finding in found[title]:
            _show_finding(title.removesuffix("s"), finding)
    if "repaired" in found:
        _show_repaired(found["repaired"])
    if found["statistics"]["splits"]:
        typer.echo("")
        show_statistics(found["statistics"])


def _show_repaired(repaired: Mapping[str, Any]) -> None:
    typer.echo(f"\nwrote {', '.join(repaired['annotations'])}; changes: {len(repaired['changes'])}")
    for change in repaired["changes"]:
        typer.echo(f"  {change}")


def _show_finding(title: str, finding: dict[str, Any]) -> None:
    typer.echo(f"\n{title}: {finding['message']}")
    for example in finding["examples"][:SHOWN_EXAMPLES]:
        place = ": ".join(part for part in (example["file"], example["record"]) if part)
        cure = f" ({example['cure']})" if example["cure"] else ""
        typer.echo(f"  {place}: {example['problem']}{cure}")
    if finding["count"] > len(finding["examples"]):
        typer.echo(f"  ... and {finding['count'] - len(finding['examples'])} more")


def show_statistics(statistics: Mapping[str, Any], output: Format = Format.TABLE) -> None:
    """Print the statistics of a data set as a table with a column for each split."""
    splits = statistics["splits"]
    rows: list[tuple[object, ...]] = []
    for name, value in next(iter(splits.values())).items():
        title, values = name.replace("_", " "), [split[name] for split in splits.values()]
        if isinstance(value, int):
            rows.append((title, *values))
        elif name.endswith(_RANGES):
            rows.append((f"{title}, min / median / max", *map(_range, values)))
    for name, by_split in statistics["classes"].items():
        rows.append((f"objects of {name}", *(by_split.get(split, 0) for split in splits)))
    show_rows(["", *(name.upper() for name in splits)], rows, output)


_RANGES = ("_px", "_ratio", "_share")
"""Ends of the names of statistics that have a minimum, median and maximum."""


def _range(value: dict[str, float] | None) -> str | None:
    if value is None:
        return None
    return " / ".join(f"{value[name]:g}" for name in ("min", "median", "max"))
