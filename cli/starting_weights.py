"""The weights that a recommended search starts from: options, and what the files have."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from searchd.domain.architecture import preset
from searchd.domain.errors import CheckpointError, InvalidValueError
from searchd.recommend import Start
from searchd.spec import PretrainedSpec

FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        exists=True,
        help="A detector to improve: a checkpoint that mmdet trained, or the folder of a detector "
        "that searchd exported. Its classes may be others than those of the data: it is fine-tuned "
        "then. By default the search starts from a new detector.",
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="Name of the mmdet config of the checkpoint in --from, for example "
        "faster-rcnn_r50_fpn_1x_coco. By default it is found in the checkpoint, or by its name.",
    ),
]
PretrainedOption = Annotated[
    str | None,
    typer.Option(
        "--pretrained",
        metavar="torchvision|timm|FILE",
        help="Weights of ImageNet that the backbone of a new detector starts from: downloaded by "
        "torchvision or timm, which must be installed, or a file with the weights of a ResNet-18 "
        "or ResNet-50. By default the backbone starts from random weights. Not with --from.",
    ),
]
LicenceOption = Annotated[
    str | None,
    typer.Option(
        "--licence",
        metavar="TEXT",
        help="Licence of the weights in --from or --pretrained, in any words; best is an SPDX id "
        "such as Apache-2.0. Exports of detectors that descend from them name it. By default that "
        "of an exported detector in --from, otherwise unknown.",
    ),
]
PUBLISHED: Mapping[str, Mapping[str, str]] = {
    "torchvision": {
        "resnet18": "ResNet18_Weights.IMAGENET1K_V1",
        "resnet50": "ResNet50_Weights.IMAGENET1K_V2",
    },
    "timm": {"resnet18": "resnet18.a1_in1k", "resnet50": "resnet50.a1_in1k"},
}
"""Weights of each library by backbone."""


def check_options(
    source: Path | None, config: str | None, pretrained: str | None, licence: str | None = None
) -> None:
    """Check that the options fit each other.

    Raises:
        InvalidValueError: Two options exclude each other, or --pretrained names nothing.
    """
    if source is not None and pretrained is not None:
        raise InvalidValueError("--from loads a whole detector; leave --pretrained out")
    if config is not None and source is None:
        raise InvalidValueError("--config is of the checkpoint in --from; give --from too")
    if licence is not None and source is None and pretrained is None:
        raise InvalidValueError(
            "--licence is of the weights in --from or --pretrained; a new detector has none"
        )
    if licence is not None and not licence.strip():
        raise InvalidValueError("--licence is empty; write an SPDX id such as Apache-2.0")
    if pretrained is not None and pretrained not in PUBLISHED and not Path(pretrained).is_file():
        raise InvalidValueError(
            f"--pretrained {pretrained!r} is neither torchvision, timm, nor a file that exists"
        )


def start_of(
    source: Path | None, config: str | None, pretrained: str | None, class_names: Sequence[str]
) -> Start:
    """Return where a search starts, from the options of the command line.

    Only names and shapes in the files are read.

    Args:
        source: Value of --from.
        config: Value of --config.
        pretrained: Value of --pretrained.
        class_names: Names of the data set's classes.

    Raises:
        CheckpointError: The file cannot be read, or no base or backbone can start from it.
        InvalidValueError: The options do not fit each other.
    """
    check_options(source, config, pretrained)
    if source is not None:
        return _loaded(source.absolute(), config, class_names)
    if pretrained is not None:
        return Start(pretrained=_backbones(pretrained))
    return Start()


def _loaded(source: Path, config: str | None, class_names: Sequence[str]) -> Start:
    # Imported here since it imports torch, which other commands do not need.
    from detection.class_transfer import are_same
    from detection.exported_base import read_export
    from detection.mmdet.checkpoint_import import detector_and_classes
    from detection.mmdet.identify import identify

    if source.is_dir():
        exported = read_export(source, shapes_only=True)
        return Start(
            section={"export": str(source)},
            loaded=exported.student.detector,
            is_trained=not are_same(exported.class_names, class_names),
            licence=_licence_of(source),
        )
    found = (config, {}) if config is not None else identify(source)
    detector, names = detector_and_classes(found[0], source, options=found[1])
    mmdet: dict[str, Any] = {"config": found[0], "checkpoint": str(source)}
    if found[1]:
        mmdet["options"] = found[1]
    return Start(
        section={"mmdet": mmdet}, loaded=detector, is_trained=not are_same(names, class_names)
    )


def _licence_of(export: Path) -> str | None:
    """Return the licence that the description of an exported detector names."""
    from detection.exported_base import DESCRIPTION

    found: str | None = json.loads((export / DESCRIPTION).read_text()).get("licence")
    return found


def _backbones(pretrained: str) -> dict[str, dict[str, str]]:
    """Return the `pretrained` section of each backbone that the weights fit."""
    if pretrained in PUBLISHED:
        return {name: {pretrained: weights} for name, weights in PUBLISHED[pretrained].items()}
    from detection.backbones.pretrained import check_form

    file = Path(pretrained).absolute()
    for backbone in ("resnet50", "resnet18"):
        try:
            check_form(PretrainedSpec(file=file), preset(backbone))
        except CheckpointError as error:
            problem = error
        else:
            return {backbone: {"file": str(file)}}
    raise problem
