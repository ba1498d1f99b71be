"""What registering a teacher learns of it. Standard library only."""

from dataclasses import dataclass

from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.trial import Artifact, Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLevel:
    """One level of a neck."""

    stride: int
    """Input pixels per cell."""
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherReport:
    """What registering a teacher learned of it."""

    detector: Detector | MmdetDetector
    weights: Artifact
    """safetensors of the whole detector, BN statistics included."""
    params: int
    """Parameters of the whole detector."""
    evaluation: Evaluation
    """On the data set's validation split."""
    levels: tuple[FeatureLevel, ...]
    """Of its neck, finest first."""
