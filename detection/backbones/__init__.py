"""Students' backbones, each registered in mmdet's MODELS under its class name."""

from detection.backbones.architecture_backbone import ArchitectureBackbone

__all__ = ["ArchitectureBackbone"]
