"""What driver and workers hand each other about devices: tables, and latencies measured there."""

from dataclasses import dataclass

from searchd.domain.latency_table import LatencyTable
from searchd.messages.tasks import MeasuredDetector
from searchd.spec.base import ResolutionText, Spec
from searchd.spec.devices import DeviceSpec


class DeviceTask(Spec):
    """The task of measuring the lookup table of a device, on that device."""

    device: str
    """Id of the device."""
    spec: DeviceSpec
    artifacts: str
    """URI of the folder that this attempt writes to."""


class DeviceLatencyTask(Spec):
    """The task of measuring found detectors on a device, on that device."""

    spec: DeviceSpec
    detectors: tuple[MeasuredDetector, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLatency:
    """The measured latency of a detector on a device."""

    median_s: float
    """Median seconds of one batch, from pixels to boxes."""
    p95_s: float
    """Seconds that 95 % of the passes needed at most."""
    quiet: bool
    """Whether the machine was quiet meanwhile: the passes hardly differed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPrediction:
    """A detector that the table was not fitted to."""

    family: str
    """Family of the detector."""
    encoding: str
    """Backbone of the detector in the papers' text form."""
    resolution: ResolutionText
    """Size of the image."""
    predicted_s: float
    """Seconds of one batch by the table."""
    measured: DeviceLatency
    """What was measured."""

    @property
    def error(self) -> float:
        """Prediction over measurement, less 1."""
        return self.predicted_s / self.measured.median_s - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """The report on a device."""

    hardware: str
    """Processor or GPU, in words."""
    software: str
    """Runtime with its version, and the system, in words."""
    host: str
    """Name of the machine."""
    table: LatencyTable
    """The measured layers, and the factors of everything else."""
    median_error: float
    """Median of the absolute relative errors on detectors that the table was not fitted to."""
    largest_error: float
    """Largest of these errors."""
    checked: tuple[CheckedPrediction, ...]
    """The detectors that the table was not fitted to."""
    num_measured: int
    """Number of measurements, of layers and of detectors."""
    num_noisy: int
    """Number of measurements for which the machine was never quiet."""
