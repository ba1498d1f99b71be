"""Imports a detector that mmdet trained as a `Student`, from a config's name and a checkpoint.

The student computes the same as mmdet's model, except for rounding: it has the same weights, with
the config's input normalisation folded into the first convolution. Every import checks this on a
random image. Training and search afterwards follow this project's settings, and not the config's
losses and assigners.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.models import BaseDetector
from mmdet.models.backbones import MobileNetV2
from torch import Tensor

from detection.backbones.weight_names import inverted_residual_names
from detection.build import SIZE_DIVISOR, Student, assemble, detector_config
from detection.checkpoint_files import CheckpointFile, differences, read_checkpoint
from detection.distillation.taps import first_stage
from detection.mmdet.config import Normalisation, build_config, class_names_of, model_config
from detection.mmdet.known_families import EXAMPLES, TYPES, num_classes
from detection.mmdet.raw_outputs import raw_outputs
from searchd.domain.architecture import Architecture, Block, BlockKind, Shortcut
from searchd.domain.detector import (
    DEFAULT_ANCHOR_SCALES,
    DEFAULT_TOWER_CONVS,
    Detector,
    Family,
    MmdetDetector,
)
from searchd.domain.errors import CheckpointError, InvalidValueError

FIRST_CONV = "backbone.conv1.weight"
"""Name of the weights into which the input normalisation is folded."""
_MOBILENET_OUTPUTS = (1, 2, 4, 6)
TOLERANCE = 1e-5
"""Largest accepted difference of outputs, as a share of their largest magnitude."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Imported:
    """An imported detector."""

    student: Student
    class_names: tuple[str, ...] | None
    """Names of its classes in the order of the labels; None if they are not known."""
    notes: tuple[str, ...] = ()
    """Sentences on what was chosen and left out when the checkpoint was read."""


def import_student(
    config: str, checkpoint: Path, *, options: Mapping[str, Any] | None = None
) -> Student:
    """Import the detector of an mmdet config with a checkpoint's weights; see `import_detector`."""
    return import_detector(config, checkpoint, options=options).student


def import_detector(
    config: str, checkpoint: Path, *, options: Mapping[str, Any] | None = None
) -> Imported:
    """Import the detector of an mmdet config with a checkpoint's weights.

    Args:
        config: Name of a config that mmdet ships, of a family of this project and with a ResNet,
            ResNeXt (with the stride on the 3x3 convolution) or MobileNetV2 as its backbone.
        checkpoint: A checkpoint as `detection.checkpoint_files` reads it, without running any code
            in it.
        options: Values that replace the config's, see `MmdetDetector`.

    Raises:
        CheckpointError: The config is unknown or not supported, the checkpoint cannot be read or
            does not fit it, or the two models' outputs differ. The message says which.
    """
    file = read_checkpoint(checkpoint)
    fitting = _fit(config, checkpoint, file.weights, options or {})
    mmdet_model, detector, normalisation = fitting.model, fitting.detector, fitting.normalisation
    mmdet_model.load_state_dict(file.weights, strict=True)
    weights = fitting.own_names(mmdet_model.state_dict())
    weights[FIRST_CONV] = normalisation.fold(weights[FIRST_CONV])
    own_model = assemble(detector)
    _load(
        own_model, weights, f"config {config} has other parts than this project's {detector.family}"
    )
    check_equal(mmdet_model, own_model, normalisation, config)
    return Imported(
        student=Student(detector=detector, weights=own_model.state_dict()),
        class_names=_class_names(file, config, detector),
        notes=file.notes,
    )


def describe_checkpoint(
    config: str, checkpoint: Path, *, options: Mapping[str, Any] | None = None
) -> Detector:
    """Return the detector of a checkpoint, from the shapes of its weights alone; see
    `detector_and_classes`."""
    return detector_and_classes(config, checkpoint, options=options)[0]


def detector_and_classes(
    config: str, checkpoint: Path, *, options: Mapping[str, Any] | None = None
) -> tuple[Detector, tuple[str, ...] | None]:
    """Return the detector of a checkpoint and the names of its classes, from the shapes of its
    weights alone. The names are None if neither the file nor the config has them.

    Raises:
        CheckpointError: As of `import_detector`, but outputs are not compared.
    """
    file = read_checkpoint(checkpoint, shapes_only=True)
    with torch.device("meta"):
        detector = _fit(config, checkpoint, file.weights, options or {}).detector
    return detector, _class_names(file, config, detector)


def _class_names(file: CheckpointFile, config: str, detector: Detector) -> tuple[str, ...] | None:
    names = file.class_names or class_names_of(config, detector.num_classes)
    return names if names is not None and len(names) == detector.num_classes else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Fitting:
    """mmdet's model of a config that fits a checkpoint, and what it is here."""

    model: BaseDetector
    detector: Detector
    normalisation: Normalisation

    def own_names(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return mmdet's weights by the names of this project's detector."""
        if self.detector.architecture.kind is not BlockKind.INVERTED_RESIDUAL:
            return dict(weights)
        names = [name for name in weights if name.startswith("backbone.")]
        renamed = inverted_residual_names(
            [name.removeprefix("backbone.") for name in names], self.detector.architecture.depths
        )
        kept = {name: weight for name, weight in weights.items() if name not in set(names)}
        return kept | {
            f"backbone.{own}": weights[f"backbone.{name}"] for name, own in renamed.items()
        }


def _fit(
    config: str, checkpoint: Path, weights: Mapping[str, Tensor], options: Mapping[str, Any]
) -> _Fitting:
    try:
        described = MmdetDetector(config=config, options=options)
        family = _family(model_config(described), config)
        described = MmdetDetector(
            config=config, options=options, num_classes=num_classes(family, weights)
        )
        model = model_config(described)
        normalisation = Normalisation.of(model["data_preprocessor"], config)
    except InvalidValueError as error:
        raise CheckpointError(f"{checkpoint} cannot be imported: {error}") from error
    mmdet_model = build_config(model)
    differing = differences(mmdet_model.state_dict(), weights)
    if differing:
        raise CheckpointError(f"{checkpoint} does not fit config {config}: {differing}")
    return _Fitting(
        model=mmdet_model,
        detector=_describe(mmdet_model, family, config),
        normalisation=normalisation,
    )


def check_equal(
    mmdet_model: BaseDetector, own_model: BaseDetector, normalisation: Normalisation, config: str
) -> None:
    """Check that mmdet's model and own_model compute the same from the same random image.

    Computed in float64, in which rounding can neither hide a difference nor look like one. Both
    models are in float32 and eval mode afterwards.

    Raises:
        CheckpointError: The outputs differ. The message names the first that does.
    """
    # Large enough for P7 to have several cells.
    image = torch.randn(1, 3, 4 * SIZE_DIVISOR, 5 * SIZE_DIVISOR, dtype=torch.float64)
    with torch.inference_mode():
        expected = raw_outputs(mmdet_model.double().eval(), normalisation.apply(image))
        found = raw_outputs(own_model.double().eval(), image)
    for (name, one), (_, other) in zip(expected, found, strict=True):
        if one.shape != other.shape or not _close(one, other):
            raise CheckpointError(
                f"config {config} computes other {name} than this project's detector from the same "
                "weights, so it cannot be imported"
            )
    mmdet_model.float()
    own_model.float()


def _family(model: Mapping[str, Any], config: str) -> Family:
    type_name = model["type"]
    if type_name not in TYPES:
        raise InvalidValueError(
            f"config {config} describes a {type_name}; a base is one of {', '.join(TYPES)}, as "
            f"in {EXAMPLES[Family.FASTER_RCNN]}"
        )
    family = TYPES[type_name]
    if family is Family.CASCADE_RCNN and model["roi_head"].get("mask_head") is not None:
        return Family.CASCADE_MASK_RCNN  # mmdet has one type for both
    return family


def _load(model: BaseDetector, weights: Mapping[str, Tensor], problem: str) -> None:
    differing = differences(model.state_dict(), weights)
    if differing:
        raise CheckpointError(f"{problem}: {differing}")
    model.load_state_dict(weights, strict=True)


def _describe(model: BaseDetector, family: Family, config: str) -> Detector:
    """Return the `Detector` that describes mmdet's model."""
    architecture = architecture_of(model.backbone, EXAMPLES[family], config)
    _check_parts(model, architecture, family, config)
    if family.two_stage:
        head, roi_head = first_stage(model.roi_head.bbox_head), model.roi_head
        numbers = {
            "head_channels": head.fc_out_channels,
            "finest_roi_scale": first_stage(roi_head.bbox_roi_extractor).finest_scale,
            "num_proposals": model.test_cfg.rpn.max_per_img,
            "sampled_rois": first_stage(roi_head.bbox_sampler).num,
        }
        if family.has_masks:
            numbers["mask_channels"] = first_stage(roi_head.mask_head).conv_out_channels
        scale = float(model.rpn_head.prior_generator.scales[0])
    else:
        head = model.bbox_head
        numbers = {"tower_channels": head.feat_channels, "tower_convs": _tower_convs(head, family)}
        scale = _one_stage_scale(head)
    return Detector(
        architecture=architecture,
        family=family,
        num_classes=head.num_classes,
        neck_channels=model.neck.out_channels,
        anchor_scale=None if scale == DEFAULT_ANCHOR_SCALES[family] else scale,
        **numbers,
    )


def _check_parts(
    model: BaseDetector, architecture: Architecture, family: Family, config: str
) -> None:
    """Check that neck and heads are of this project's types, whatever their sizes are."""
    expected = detector_config(Detector(architecture=architecture, family=family))
    for part in ("neck", "rpn_head", "roi_head", "bbox_head"):
        if part not in expected:
            continue
        wanted, found = expected[part]["type"], type(getattr(model, part, None)).__name__
        if found != wanted:
            raise CheckpointError(
                f"config {config} has the {part} {found}, and a base of family {family} has "
                f"{wanted}; a config that can be imported is {EXAMPLES[family]}"
            )


def _tower_convs(head: Any, family: Family) -> int | None:
    default: int = DEFAULT_TOWER_CONVS.get(family, 4)
    return None if head.stacked_convs == default else int(head.stacked_convs)


def _one_stage_scale(head: Any) -> float:
    if hasattr(head, "regress_ranges"):
        return float(head.regress_ranges[0][1] / head.strides[0])
    return float(head.prior_generator.octave_base_scale)


def architecture_of(backbone: Any, example: str, config: str) -> Architecture:
    """Return the architecture of mmdet's ResNet, ResNeXt or MobileNetV2.

    Args:
        backbone: A backbone of mmdet.
        example: Name of a config with one that has an architecture, for messages.
        config: Name of the backbone's config, for messages.

    Raises:
        CheckpointError: No architecture describes it.
    """
    if isinstance(backbone, MobileNetV2):
        return _mobilenet(backbone, config)
    if type(backbone).__name__ not in ("ResNet", "ResNeXt"):
        raise CheckpointError(
            f"config {config} has the backbone {type(backbone).__name__}; a base has a ResNet, "
            f"ResNeXt or MobileNetV2, as in {example}"
        )
    layers = [getattr(backbone, name) for name in backbone.res_layers]
    is_bottleneck = hasattr(layers[0][0], "conv3")
    if is_bottleneck and backbone.style != "pytorch":
        raise CheckpointError(
            f"config {config} has the {backbone.style} style of ResNet, with the stride on the "
            f"first 1x1 convolution; a base has it on the 3x3, as in {example}"
        )
    if backbone.deep_stem:
        raise CheckpointError(
            f"config {config} has a stem of three convolutions; a base has one, as in {example}"
        )
    try:
        return Architecture(
            kind=BlockKind.BOTTLENECK if is_bottleneck else BlockKind.BASIC,
            stages=tuple(tuple(_block(block) for block in layer) for layer in layers),
            stem_channels=backbone.stem_channels,
        )
    except InvalidValueError as error:
        raise CheckpointError(
            f"config {config} has a backbone that no architecture describes: {error}; one that "
            f"can be imported is {example}"
        ) from error


def _mobilenet(backbone: MobileNetV2, config: str) -> Architecture:
    """Return the architecture of mmdet's MobileNetV2, whose seven layers are four stages here."""
    if tuple(backbone.out_indices) != _MOBILENET_OUTPUTS:
        raise CheckpointError(
            f"config {config} has the out_indices {tuple(backbone.out_indices)} of MobileNetV2; a "
            f"base has {_MOBILENET_OUTPUTS}: layers 2, 3, 5 and 7, at strides 4, 8, 16 and 32"
        )
    layers = [list(backbone.get_submodule(name)) for name in backbone.layers[:7]]
    stages = (layers[1], layers[2], layers[3] + layers[4], layers[5] + layers[6])
    stem = layers[0]
    try:
        if len(stem) != 1 or stem[0].with_expand_conv:
            raise InvalidValueError("its first layer is not one block without expansion")
        found = Architecture(
            kind=BlockKind.INVERTED_RESIDUAL,
            stages=tuple(tuple(_inverted_residual(block) for block in stage) for stage in stages),
            stem_channels=backbone.conv1.conv.out_channels,
        )
        if found.stem_out_channels != stem[0].linear_conv.conv.out_channels:
            raise InvalidValueError(
                f"its first block has {stem[0].linear_conv.conv.out_channels} outputs instead of "
                f"{found.stem_out_channels}, half as many as the first convolution"
            )
    except InvalidValueError as error:
        raise CheckpointError(
            f"config {config} has a MobileNetV2 that no architecture describes: {error}"
        ) from error
    return found


def _inverted_residual(block: Any) -> Block:
    return Block(
        channels=(
            block.depthwise_conv.conv.out_channels,
            block.linear_conv.conv.out_channels,
        ),
        stride=block.depthwise_conv.conv.stride[0],
        shortcut=Shortcut.IDENTITY if block.with_res_shortcut else Shortcut.NONE,
    )


def _block(block: Any) -> Block:
    names = [name for name in ("conv1", "conv2", "conv3") if hasattr(block, name)]
    convs = [block.get_submodule(name) for name in names]
    return Block(
        channels=tuple(conv.out_channels for conv in convs),
        stride=max(conv.stride[0] for conv in convs),
        shortcut=Shortcut.IDENTITY if block.downsample is None else Shortcut.PROJECTION,
        groups=convs[1].groups,
        deformable=any(isinstance(conv, ModulatedDeformConv2dPack) for conv in convs),
    )


def _close(one: Tensor, other: Tensor) -> bool:
    if one.numel() == 0:
        return True
    return bool((one - other).abs().max() <= TOLERANCE * one.abs().max())
