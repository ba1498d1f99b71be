"""Exported TorchScript files find in torch alone what the detectors find in mmdet."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.deployment import torchscript_format
from detection.deployment.torch_runner import TorchRunner
from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError
from tests.detection.deployment import tiny
from tests.detection.deployment.round_trips import (
    COVERED,
    SIZES,
    check_equal,
    check_loaded,
    check_program,
)

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("family", COVERED)
def test_round_trip_at_any_size(family: Family, tmp_path: Path) -> None:
    model = tiny.model(family, COVERED[family])

    exported = torchscript_format.write(model, tmp_path, tiny.request())

    check_equal(model, exported, *SIZES)
    check_loaded(torchscript_format, exported, tiny.noise(75, 130))


@pytest.mark.matrix
@pytest.mark.parametrize("kind", tiny.KINDS, ids=str)
@pytest.mark.parametrize("family", Family)
def test_round_trip_of_every_family_and_kind(
    family: Family, kind: tiny.Kind, tmp_path: Path
) -> None:
    model = tiny.model(family, kind)

    exported = torchscript_format.write(model, tmp_path, tiny.request())

    check_equal(model, exported, *SIZES)


def test_a_batch_has_the_detections_of_each_image(tmp_path: Path) -> None:
    model = tiny.model(Family.FASTER_RCNN)
    file = torchscript_format.write(model, tmp_path, tiny.request()).model
    images = [tiny.noise(75, 130, seed=seed) for seed in (0, 1, 2)]

    with torch.inference_mode():
        _, scores, labels = torch.jit.load(file)(torch.from_numpy(np.concatenate(images)))

    for number, image in enumerate(images):
        expected = TorchRunner(model).detect(image)
        count = len(expected.scores)
        np.testing.assert_allclose(scores[number, :count], expected.scores, atol=1e-4)
        assert labels[number].tolist()[:count] == expected.labels.tolist()
        assert (labels[number, count:] == -1).all()


def test_a_file_that_is_no_export_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("nothing")

    with pytest.raises(InvalidValueError, match=r"model\.pt is no TorchScript file"):
        torchscript_format.load(tmp_path / "model.pt", num_threads=1)


def test_neither_mmdet_nor_searchd_is_needed(tmp_path: Path) -> None:
    exported = torchscript_format.write(tiny.model(Family.FASTER_RCNN), tmp_path, tiny.request())
    program = (
        "import sys, torch; module = torch.jit.load(sys.argv[1]);"
        "boxes, scores, labels = module(torch.rand(1, 3, 50, 70) * 255);"
        "print(boxes.shape[1] == scores.shape[1], {'mmdet', 'mmcv', 'detection'} & {*sys.modules})"
    )

    check_program(exported, tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", program, exported.model],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "True set()"
