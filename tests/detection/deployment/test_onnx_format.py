"""Exported ONNX files find in onnxruntime what the detectors find in torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.models import BaseDetector
from PIL import Image

from detection.deployment import onnx_format
from detection.deployment.check import thresholds_of
from detection.deployment.exported import Exported
from detection.deployment.onnx_format import OnnxRunner
from detection.deployment.parity import difference, raw_difference
from detection.deployment.torch_runner import TorchRunner
from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from tests.detection.deployment import tiny

pytestmark = pytest.mark.timeout(180)  # torch's exporter takes many seconds


SIZE = Resolution(96, 64)
COVERED = {
    Family.FASTER_RCNN: tiny.KINDS[0],
    Family.CASCADE_RCNN: tiny.KINDS[1],
    Family.RETINANET: tiny.KINDS[2],
    Family.FCOS: tiny.KINDS[3],
}
"""A block kind for each family: `make test` exports every family and every kind once, since torch's
exporter takes many seconds. The test marked matrix exports every combination."""


@pytest.fixture(scope="module", params=COVERED, ids=str)
def fixed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Family, Exported]:
    """A family, and its export of one size."""
    folder = tmp_path_factory.mktemp("fixed")
    model = tiny.model(request.param, COVERED[request.param])
    return request.param, onnx_format.write(model, folder, tiny.request(size=SIZE))


def check_round_trip(model: BaseDetector, exported: Exported, *sizes: tuple[int, int]) -> None:
    reference, thresholds = TorchRunner(model), thresholds_of(model)
    for width, height in sizes:
        image = tiny.noise(width, height)
        expected = reference.detect(image)
        assert len(expected.scores) > 5
        raw_difference(reference, exported.runner, image, "noise")
        found = difference(expected, exported.runner.detect(image), thresholds, "noise")
        assert (found.num_at_threshold, found.unexplained) == (0, ())


def test_round_trip_at_one_size(fixed: tuple[Family, Exported]) -> None:
    family, exported = fixed

    check_round_trip(tiny.model(family, COVERED[family]), exported, (96, 64))


@pytest.mark.timeout(400)
def test_round_trip_at_any_size(tmp_path: Path) -> None:
    model = tiny.model(Family.FASTER_RCNN, tiny.KINDS[2])

    exported = onnx_format.write(model, tmp_path, tiny.request())

    check_round_trip(model, exported, (96, 64), (75, 130), (33, 40))
    check_batch(model, exported.model, 75, 130)


@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", tiny.KINDS, ids=str)
@pytest.mark.parametrize("family", Family)
def test_round_trip_of_every_family_and_kind(
    family: Family, kind: tiny.Kind, tmp_path: Path
) -> None:
    model = tiny.model(family, kind)

    exported = onnx_format.write(model, tmp_path, tiny.request())

    check_round_trip(model, exported, (96, 64), (75, 130), (33, 40))


def test_deformable_convolutions_are_refused(tmp_path: Path) -> None:
    model = tiny.model(Family.FCOS)
    model.backbone.layer4[0].conv1 = ModulatedDeformConv2dPack(16, 16, 3, padding=1)

    with pytest.raises(InvalidValueError, match="deformable convolutions cannot be exported"):
        onnx_format.write(model, tmp_path, tiny.request())


def check_batch(model: BaseDetector, file: Path, width: int, height: int) -> None:
    images = [tiny.noise(width, height, seed=seed) for seed in (0, 1, 2)]
    session = onnxruntime.InferenceSession(file)

    boxes, scores, labels = session.run(None, {"images": np.concatenate(images)})

    for number, image in enumerate(images):
        expected = TorchRunner(model).detect(image)
        count = len(expected.scores)
        np.testing.assert_allclose(scores[number, :count], expected.scores, atol=1e-4)
        np.testing.assert_allclose(boxes[number, :count], expected.boxes, atol=1e-2)
        assert labels[number].tolist()[:count] == expected.labels.tolist()
        assert (labels[number, count:] == -1).all()


def test_a_batch_has_the_detections_of_each_image(fixed: tuple[Family, Exported]) -> None:
    family, exported = fixed

    check_batch(tiny.model(family, COVERED[family]), exported.model, 96, 64)


def test_a_fixed_size_is_the_only_one_that_the_file_takes(fixed: tuple[Family, Exported]) -> None:
    runner = OnnxRunner(fixed[1].model.read_bytes(), num_threads=1)

    assert len(runner.detect(tiny.noise(96, 64)).scores) > 5
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        runner.detect(tiny.noise(64, 96))


def test_the_file_has_standard_operators_and_no_others(fixed: tuple[Family, Exported]) -> None:
    family, exported = fixed
    model = onnx.load(exported.model)

    assert {each.domain: each.version for each in model.opset_import} == {"": 18}
    assert {node.domain for node in model.graph.node} == {""}
    kinds = {node.op_type for node in model.graph.node}
    assert "NonMaxSuppression" in kinds
    assert ("RoiAlign" in kinds) == family.two_stage
    assert [each.name for each in model.graph.input] == ["images"]
    assert [each.name for each in model.graph.output] == ["boxes", "scores", "labels"]


def test_the_file_tells_nothing_of_the_machine_it_was_written_on(
    fixed: tuple[Family, Exported],
) -> None:
    content = fixed[1].model.read_bytes()

    assert str(Path(onnx_format.__file__).parent).encode() not in content
    assert b"site-packages" not in content
    assert b"stack_trace" not in content


def test_predict_draws_what_it_finds_without_searchd(
    fixed: tuple[Family, Exported], tmp_path: Path
) -> None:
    (program,) = fixed[1].programs
    pixels = tiny.noise(192, 128)[0].transpose(1, 2, 0).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")

    done = subprocess.run(
        [sys.executable, "-I", program, "image.png", "drawn.png", "0.05"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    lines = done.stdout.splitlines()
    assert len(lines) > 5
    name, score, *corners = lines[0].split()
    assert name in tiny.NAMES
    assert 0.05 <= float(score) <= 1
    left, top, right, bottom = map(float, corners)
    assert 0 <= left < right <= 192
    assert 0 <= top < bottom <= 128
    assert np.any(np.asarray(Image.open(tmp_path / "drawn.png")) != pixels)


def test_predict_names_what_it_cannot_read(fixed: tuple[Family, Exported], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", fixed[1].programs[0], "missing.png", "drawn.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "missing.png cannot be read as an image" in done.stderr
