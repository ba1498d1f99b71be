"""What is checked of every export: that it finds what its detector finds in torch."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from mmdet.models import BaseDetector
from PIL import Image

from detection.deployment.check import thresholds_of
from detection.deployment.exported import Exported, Pixels
from detection.deployment.parity import difference, raw_difference
from detection.deployment.torch_runner import TorchRunner
from searchd.domain.detector import Family
from tests.detection.deployment import tiny

COVERED = {
    Family.FASTER_RCNN: tiny.KINDS[0],
    Family.MASK_RCNN: tiny.KINDS[2],
    Family.CASCADE_RCNN: tiny.KINDS[1],
    Family.CASCADE_MASK_RCNN: tiny.KINDS[0],
    Family.RETINANET: tiny.KINDS[2],
    Family.FCOS: tiny.KINDS[3],
    Family.ATSS: tiny.KINDS[0],
    Family.GFL: tiny.KINDS[1],
    Family.VFNET: tiny.KINDS[2],
    Family.TOOD: tiny.KINDS[3],
}
"""A block kind for each family: `make test` exports every family and every kind once, since torch's
exporter takes many seconds. Tests marked matrix export every combination."""
SIZES = ((96, 64), (75, 130), (33, 40))
"""Sizes of images, padded and not."""


def calibration() -> list[Pixels]:
    """Images of each size, the compared ones among them: values outside of the measured ranges are
    clipped, and a map of two cells shows that more than the rounding of integers."""
    return [tiny.noise(*size, seed=seed) for size in SIZES for seed in (0, 1)]


def check_equal(model: BaseDetector, exported: Exported, *sizes: tuple[int, int]) -> None:
    """Check that an export in 32 bits finds the same, and that something is found."""
    reference, thresholds = TorchRunner(model), thresholds_of(model)
    for width, height in sizes:
        image = tiny.noise(width, height)
        expected = reference.detect(image)
        assert len(expected.scores) > 5
        raw_difference(reference, exported.runner, image, "noise")
        seen = exported.runner.detect(image)
        assert (seen.masks is None) == (expected.masks is None)
        found = difference(expected, seen, thresholds, "noise")
        assert (found.num_at_threshold, found.unexplained) == (0, ())


def raw_error(model: BaseDetector, exported: Exported, image: Pixels) -> float:
    """Return the largest relative error of the outputs of the head or the RPN, by their norms.

    Which boxes are chosen is chance for a detector that was not trained.
    """
    expected, found = TorchRunner(model).raw(image), exported.runner.raw(image)
    errors = [
        float(np.linalg.norm(other - one) / np.linalg.norm(one))
        for one, other in zip(expected, found, strict=True)
    ]
    assert len(exported.runner.detect(image).scores) > 5
    return max(errors)


def check_loaded(format_: ModuleType, exported: Exported, image: Pixels) -> None:
    """Check that the file finds the same when it is opened again."""
    found, again = (
        runner.detect(image)
        for runner in (exported.runner, format_.load(exported.model, num_threads=1))
    )
    np.testing.assert_allclose(again.boxes, found.boxes, atol=1e-3)
    np.testing.assert_allclose(again.scores, found.scores, atol=1e-5)
    assert again.labels.tolist() == found.labels.tolist()


def check_program(exported: Exported, folder: Path) -> None:
    """Check that the program beside a file draws what it finds, without this project."""
    (program,) = exported.programs
    pixels = tiny.noise(192, 128)[0].transpose(1, 2, 0).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")

    done = subprocess.run(
        [sys.executable, "-I", program, "image.png", "drawn.png", "0.05"],
        cwd=folder,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 5
    name, score, *corners = lines[0].split()
    assert name in tiny.NAMES
    assert 0.05 <= float(score) <= 1
    left, top, right, bottom = map(float, corners)
    assert max(0, left) < min(right, 192)  # TOOD's boxes may end outside
    assert max(0, top) < min(bottom, 128)
    assert np.any(np.asarray(Image.open(folder / "drawn.png")) != pixels)
