"""Weights in the artifact store, as safetensors."""

from collections.abc import Mapping

from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from detection.build import Student
from searchd import artifacts
from searchd.domain.detector import Detector
from searchd.domain.trial import Artifact
from searchd.messages.files import weights_file


def read_weights(stored: Artifact) -> dict[str, Tensor]:
    """Return the weights of a stored artifact, by name, on the CPU.

    Raises:
        ArtifactError: The stored file is missing or damaged.
    """
    weights: dict[str, Tensor] = load_safetensors(artifacts.read(stored))
    return weights


def read_student(detector: Detector, stored: Artifact) -> Student:
    """Return a detector with its stored weights.

    Raises:
        ArtifactError: The stored file is missing or damaged.
    """
    return Student(detector=detector, weights=read_weights(stored))


def write_weights(folder: str, name: str, weights: Mapping[str, Tensor]) -> Artifact:
    """Store weights in a folder and return the artifact.

    Args:
        folder: URI of the folder.
        name: Name of the artifact, such as `searchd.messages.files.STUDENT`.
        weights: By name, on any device.

    Raises:
        OSError: The store refuses the write.
    """
    data = save_safetensors({key: value.cpu().contiguous() for key, value in weights.items()})
    return artifacts.write(artifacts.join(folder, weights_file(name)), data, name=name)
