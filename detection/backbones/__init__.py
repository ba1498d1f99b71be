"""Students' backbones, each registered in mmdet's MODELS under its class name."""

from detection.backbones.architecture_resnet import ArchitectureResNet

__all__ = ["ArchitectureResNet"]
