"""mmdet's detectors with random weights."""

from mmdet.models import BaseDetector
from mmengine.logging import MMLogger

from detection.mmdet.config import assemble_mmdet
from searchd.domain.detector import MmdetDetector


def build_mmdet(detector: MmdetDetector) -> BaseDetector:
    """Build the detector with mmdet's random initialisation."""
    model = assemble_mmdet(detector)
    MMLogger.get_current_instance().setLevel("WARNING")  # or it lists every parameter's mean
    model.init_weights()
    return model
