"""The model card of an export: what it is, where it comes from, and what was measured."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from detection.deployment.check import SplitAps
from detection.deployment.exported import Exported
from detection.deployment.parity import TOLERANCES
from searchd.domain.detector import Detector
from searchd.domain.encoding import encode
from searchd.domain.export_formats import Precision
from searchd.domain.resolution import Resolution
from searchd.messages.exports import ExportMeasurement
from searchd.spec import ExportSpec

SAMPLE = "sample.jpg"
"""File with the sample picture, beside the card."""
UNKNOWN = "unknown"
"""The licence of weights whose licence nobody named."""
_SIZES = {
    "ap": "all",
    "ap50": "all, IoU 0.5",
    "ap75": "all, IoU 0.75",
    "ap_small": "small (below 32 x 32 pixels)",
    "ap_medium": "medium",
    "ap_large": "large (above 96 x 96 pixels)",
}
_MASKS = {"mask_ap": "masks of all", "mask_ap50": "masks of all, IoU 0.5"}
_FURTHER = {
    "ap70": "all, IoU 0.7",
    "ap90": "all, IoU 0.9",
    "ar1": "AR of all, 1 detection of an image and class",
    "ar10": "AR of all, 10 detections",
    "ar100": "AR of all, 100 detections",
    "ar_small": "AR of small",
    "ar_medium": "AR of medium",
    "ar_large": "AR of large",
}
"""What else COCO's evaluation says of an export: AP at other thresholds, and average recall."""

_COLUMNS = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "small",
    "ap_medium": "medium",
    "ap_large": "large",
}
_MASK_COLUMNS = {"mask_ap": "mask AP", "mask_ap50": "mask AP50"}
"""Columns of the table of what was measured in torch, the second ones of detectors of masks."""


def card(
    spec: ExportSpec,
    detector: Detector,
    exported: Exported,
    measurement: ExportMeasurement,
    aps: Mapping[str, SplitAps],
    facts: Mapping[str, Any],
    *,
    resolution: Resolution,
    licence: str | None,
) -> dict[str, Any]:
    """Return the card as a JSON document.

    Args:
        spec: What was exported.
        detector: The detector.
        exported: Its export.
        measurement: What was measured of the export.
        aps: APs of the export, by the name of the split.
        facts: What is known of the detector's origin; see `ExportTask.facts`.
        resolution: Resolution that images are resized to for it.
        licence: Licence of the weights that the base started from; None: unknown.
    """
    export = spec.model_dump(mode="json", exclude={"cpus"})
    return {
        **facts,
        "family": detector.family.value,
        "architecture": encode(detector.architecture),
        "export": {**export, "resolution": str(resolution)},
        "file": exported.model.name,
        "usage": exported.usage,
        "export aps": {
            split: {**asdict(found.total), "by_class": found.by_class, "images": found.num_images}
            for split, found in aps.items()
        },
        "measured": asdict(measurement) | {"resolution": str(measurement.resolution)},
        "versions": _versions(measurement),
        "licence": licence or UNKNOWN,
        "sample": SAMPLE,
    }


def readme(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    return _TEMPLATE.format(
        **card,
        precision=_precision(card["export"], card["measured"]),
        dataset=card["data set"],
        size=_size(card["export"]["input"]),
        names=", ".join(card["classes"]),
        aps="\n".join(_ap_table(card["export aps"])),
        cost="\n".join(_cost(card)),
        equality=_equality(Precision(card["export"]["precision"]), card["measured"]),
        steps="\n".join(f"{i}. {step}" for i, step in enumerate(card["lineage"], start=1)),
        torch_aps="\n".join(_measurement_table(card["measurements"])),
        trainings=", ".join(map(str, card["seeds"])),
        terms=_terms(card["licence"]),
        software=", ".join(f"{name} {number}" for name, number in card["versions"].items()),
    )


_TEMPLATE = """\
# {detector}

A {family} detector that searchd found on the data set {dataset}. `{file}` takes images of \
{size} and computes in {precision}.

## Use it

{usage}

## Classes

{names}

## Sample

Ground truth at the left, what this file finds at the right, on an image of the validation split:

![ground truth beside detections]({sample})

## AP and average recall (AR) of this file (COCO, %)

{aps}

## Cost

{cost}

## Compared with the detector in torch

{equality}

## Where it comes from

{steps}

Seeds of these steps, in their order: {trainings}. Architecture: `{architecture}`.

What the search measured, in torch:

{torch_aps}

## Versions

{software}

## Licence

{terms}
"""


def _size(wanted: str) -> str:
    return "any size" if wanted == "dynamic" else f"{wanted} pixels (width x height)"


def _terms(licence: str) -> str:
    named = (
        "not known" if licence == UNKNOWN else f"`{licence}`, as whoever started the search said"
    )
    return (
        f"The licence of the weights that the search started from is {named}. These weights derive "
        "from them and from the images of the data set, whose licence applies too."
    )


def _precision(spec: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    """Return what a file computes in, in words."""
    words = {
        Precision.FP32: "fp32",
        Precision.FP16: "fp16; boxes are decoded in 32 bits",
        Precision.INT8: f"int8, calibrated on {spec['calibration_images']} training images at most "
        f"(seed {spec['calibration_seed']})",
    }[spec["precision"]]
    kept = measured["kept"]
    return f"{words}; 32 bits, because AP fell otherwise, in: {', '.join(kept)}" if kept else words


def _equality(precision: Precision, measured: Mapping[str, Any]) -> str:
    tolerance = TOLERANCES[precision].detection
    return (
        f"On {measured['num_compared']} images: outputs before the selection of boxes differ by at "
        f"most {measured['raw_difference']:.1g} (relative). Of {measured['num_detections']} "
        f"detections, {measured['num_at_threshold']} are on the other side of a threshold by "
        f"rounding, and {measured['num_unexplained']} differ otherwise: by more than "
        f"{tolerance:g} of the score, or of the box's longer side. The others differ by at most "
        f"{measured['box_difference']:.1g} pixels and {measured['score_difference']:.1g} of the "
        f"score. AP on validation: {_percent(measured['ap'])} % here, "
        f"{_percent(measured['torch_ap'])} % in torch.{_mask_equality(precision, measured)}"
    )


def _mask_equality(precision: Precision, measured: Mapping[str, Any]) -> str:
    """Return how masks compare; nothing of a detector that finds boxes alone."""
    if measured["mask_ap"] is None:
        return ""
    return (
        " Masks of equal detections differ by at most "
        f"{measured['mask_difference']:.1g} of probability, the mean over the cells of a box "
        f"({TOLERANCES[precision].mask:g} is allowed). Mask AP on validation: "
        f"{_percent(measured['mask_ap'])} % here, {_percent(measured['torch_mask_ap'])} % in torch."
    )


def _ap_table(aps: Mapping[str, Any]) -> list[str]:
    splits = " | ".join(f"{split} ({found['images']} images)" for split, found in aps.items())
    rows = [f"| objects | {splits} |", "|---" * (len(aps) + 1) + "|"]
    for key, name in (_SIZES | (_MASKS if _has_masks(aps.values()) else {}) | _FURTHER).items():
        rows.append(f"| {name} | {' | '.join(_percent(found[key]) for found in aps.values())} |")
    for name in next(iter(aps.values()))["by_class"]:
        found = " | ".join(_percent(each["by_class"].get(name, -1)) for each in aps.values())
        rows.append(f"| class {name} | {found} |")
    return rows


def _cost(card: Mapping[str, Any]) -> list[str]:
    measured = card["measured"]
    macs = {each["resolution"]: each["macs"] for each in card["measurements"]}
    return [
        f"- {card['parameters'] / 1e6:.2f} M parameters, {measured['size_bytes'] / 1e6:.2f} MB",
        *(f"- {count / 1e9:.3f} G multiply-accumulates at {size}" for size, count in macs.items()),
        f"- latency at {measured['resolution']}: median {1000 * measured['latency_s']:.1f} ms, "
        f"95 % of {measured['num_timed']} passes below {1000 * measured['latency_p95_s']:.1f} ms "
        f"({measured['device']}, {measured['software']})",
    ]


def _measurement_table(measurements: list[Mapping[str, Any]]) -> list[str]:
    columns = _COLUMNS | (_MASK_COLUMNS if _has_masks(measurements) else {})
    head = " | ".join(["split", "resolution", *columns.values()])
    rows = [f"| {head} |", "|---" * (2 + len(columns)) + "|"]
    for each in measurements:
        aps = " | ".join(_percent(each.get(name)) for name in columns)
        rows.append(f"| {each['split']} | {each['resolution']} | {aps} |")
    return rows


def _has_masks(measurements: Iterable[Mapping[str, Any]]) -> bool:
    return any(each.get("mask_ap") is not None for each in measurements)


def _percent(ap: float | None) -> str:
    """Return an AP in percent; a dash if there are no such objects, or it was not measured."""
    return f"{100 * ap:.1f}" if ap is not None and ap >= 0 else "-"


def _versions(measurement: ExportMeasurement) -> dict[str, str]:
    runtime, _, number = measurement.software.rpartition(" ")
    return {
        "searchd": version("searchd"),
        "torch": str(torch.__version__),
        runtime: number,
        "Python": platform.python_version(),
    }
