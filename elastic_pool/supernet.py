"""The supernet: the pool's largest detector, whose weights every subnet shares.

Joint-DetNAS sections 3.1.3 and A.1.3, docs/papers.md 1.7: a subnet keeps the first blocks of each
stage and the leading channels of each convolution, BN and neck level. The supernet is the static
detector of the space's largest architecture with its layers made elastic in place, so its weights
have that detector's names, and a subnet's tensors are the leading slices of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from detection.backbones.pretrained import load_pretrained, start_from
from detection.build import Student, assemble, build_detector
from elastic_pool.layers import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear, ElasticStage
from searchd.domain.architecture import NUM_STAGES
from searchd.domain.detector import Detector
from searchd.domain.subnet import EXPANSION, Subnet, SubnetSpace
from searchd.spec import HeadSpec, PretrainedSpec


class Supernet:
    """All detectors of a space in one set of weights."""

    def __init__(self, space: SubnetSpace, head: HeadSpec, num_classes: int) -> None:
        """Build the supernet with random weights, on the CPU, in train mode.

        Args:
            space: The pool's space; its largest subnet is built.
            head: Settings of everything but backbone and neck width, shared by all subnets.
            num_classes: Foreground classes.
        """
        self.space = space
        self.head = head
        self.num_classes = num_classes
        self.detector: Any = build_detector(self.static(space.largest))
        """An mmdet FasterRCNN that computes the active subnet; the largest one by default."""
        _make_elastic(self.detector)
        self._active = space.largest

    def static(self, subnet: Subnet) -> Detector:
        """Return the static detector that equals a subnet.

        Raises:
            InvalidValueError: The subnet is not in the space.
        """
        return self.head.detector(
            self.space.architecture(subnet), self.num_classes, neck_channels=subnet.neck_channels
        )

    @contextmanager
    def active(self, subnet: Subnet) -> Iterator[Any]:
        """Yield `detector`, which computes `subnet` inside the context.

        Gradients reach the slices that the subnet uses. Afterwards the subnet that was active
        before is active again.

        Raises:
            InvalidValueError: The subnet is not in the space.
        """
        self.space.check(subnet)
        before = self._active
        self._activate(subnet)
        try:
            yield self.detector
        finally:
            self._activate(before)

    def weights(self) -> dict[str, Tensor]:
        """Return all weights and statistics by the names of the largest detector, not copied."""
        return dict(self.detector.state_dict())

    def load(self, weights: dict[str, Tensor]) -> None:
        """Load weights in the form that `weights` returns.

        Raises:
            RuntimeError: A key or shape differs from this supernet's.
        """
        self.detector.load_state_dict(weights, strict=True)

    def start_from(self, pretrained: PretrainedSpec) -> tuple[str, ...]:
        """Put a pretrained backbone into the largest subnet, as far as it fits.

        Returns:
            Notes on what was copied, in part and not at all; see
            `detection.backbones.pretrained.start_from`.

        Raises:
            CheckpointError: The weights cannot be loaded, or are of another kind of backbone.
        """
        architecture = self.space.architecture(self.space.largest)
        return start_from(self.weights(), load_pretrained(pretrained), architecture)

    def _activate(self, subnet: Subnet) -> None:
        self._active = subnet
        for name, module in self.detector.named_modules():
            if isinstance(module, ElasticConv2d):
                module.active_out_channels = self._out_channels(name, subnet) or module.out_channels
            elif isinstance(module, ElasticStage):
                module.active_depth = subnet.depths[_stage(name) - 1]
        # mmdet's RoI extractor allocates its output from this number.
        self.detector.roi_head.bbox_roi_extractor.out_channels = subnet.neck_channels

    def _out_channels(self, name: str, subnet: Subnet) -> int | None:
        """Return the output channels of the named convolution; None if they are not elastic."""
        parts = name.split(".")
        if name == "backbone.conv1":
            return self.space.stem_channels(subnet.stem_width)
        if parts[0] == "backbone" and parts[1].startswith("layer"):
            stage = _stage(name)
            middle = self.space.channels(stage, subnet.widths[stage - 1])
            return middle if parts[-1] in ("conv1", "conv2") else EXPANSION * middle
        if parts[0] == "neck" or parts[-1] == "rpn_conv":
            return subnet.neck_channels
        return None


def extract(supernet: Supernet, subnet: Subnet) -> Student:
    """Copy a subnet into a static detector that computes the same.

    BN statistics are the leading ones of the supernet. A subnet other than the largest needs
    `elastic_pool.bn_reset.reset_bn` before it is evaluated or teaches.

    Raises:
        InvalidValueError: The subnet is not in the space.
    """
    detector = supernet.static(subnet)
    with torch.device("meta"):  # only names and shapes are needed
        shapes = {name: value.shape for name, value in assemble(detector).state_dict().items()}
    weights = supernet.weights()
    return Student(
        detector=detector,
        weights={
            name: weights[name][tuple(slice(size) for size in shape)].detach().cpu().clone()
            for name, shape in shapes.items()
        },
    )


def _make_elastic(detector: Any) -> None:
    """Replace the layers that subnets use in part. Parameters keep their names and values."""
    for name, module in list(detector.named_modules()):
        if isinstance(module, nn.Conv2d):
            _replace(detector, name, ElasticConv2d.of(module))
        elif isinstance(module, nn.BatchNorm2d):
            _replace(detector, name, ElasticBatchNorm2d.of(module))
        elif isinstance(module, nn.Linear):
            _replace(detector, name, ElasticLinear.of(module))
    for stage in range(1, NUM_STAGES + 1):
        name = f"backbone.layer{stage}"
        _replace(detector, name, ElasticStage.of(detector.get_submodule(name)))


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, module)


def _stage(name: str) -> int:
    """Return the stage, 1 to 4, of a module in it, such as backbone.layer2.0.conv1."""
    return int(name.split(".")[1].removeprefix("layer"))
