"""Students' backbones, registered in mmdet's MODELS under their class names."""

from detection.backbones.architecture_backbone import ArchitectureBackbone

__all__ = ["ArchitectureBackbone"]
