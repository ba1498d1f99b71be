"""A worker exports a detector, proves that the export is equal, and stores it with its card."""

import io
import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from detection.data.shapes import make_shapes
from detection.deployment import onnx_format
from detection.deployment.exported import Exported, Found, Pixels
from detection.deployment.torch_runner import TorchRunner
from detection.stored_weights import write_weights
from searchd import artifacts
from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError, ParityError
from searchd.domain.export_formats import ExportFormat, Precision
from searchd.domain.resolution import Resolution
from searchd.messages.codecs import EXPORT_REPORT
from searchd.messages.exports import ExportTask
from searchd.messages.files import REPORT_FILE, STUDENT
from searchd.spec import DatasetSpec, ExportSpec
from tests.detection.deployment import tiny
from workers import detector_export
from workers.detector_export import export_detector

pytestmark = pytest.mark.timeout(240)  # torch's exporter takes many seconds

OPENVINO = ExportSpec(format=ExportFormat.OPENVINO, input=Resolution(96, 64))
FACTS: dict[str, Any] = {
    "detector": "s-1-7",
    "search": "first",
    "data set": "shapes",
    "classes": ["circle", "square", "triangle"],
    "parameters": 12345,
    "seed": 3,
    "seeds": [1, 3],
    "lineage": ["search first, trial base: trained", "search first, trial 7: pruned"],
    "measurements": [
        {
            **{"resolution": "96x64", "split": "validation", "macs": 2e9, "ap": 0.25, "ap50": 0.5},
            **{"ap75": 0.2, "ap_small": -1.0, "ap_medium": 0.25, "ap_large": 0.5},
        }
    ],
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(
        folder, num_train=40, num_validation=4, num_test=3, image_size=64, num_classes=3
    )


@pytest.fixture(scope="module", autouse=True)
def _each_detector_is_traced_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_format, "traced", tiny.traced_once)
        yield


def task(folder: Path, dataset: DatasetSpec, **values: Any) -> ExportTask:
    student = tiny.student(Family.FCOS, tiny.KINDS[3])
    defaults: dict[str, Any] = {
        "export": "x-1",
        "spec": ExportSpec(input=Resolution(96, 64)),
        "detector": student.detector,
        "student": write_weights(str(folder / "student"), STUDENT, student.weights),
        "dataset": dataset,
        "resolution": Resolution(96, 64),
        "facts": FACTS,
        "artifacts": str(folder / "attempt-1"),
    }
    return ExportTask(**defaults | values)


def test_an_export_is_stored_with_what_was_measured(dataset: DatasetSpec, tmp_path: Path) -> None:
    report = export_detector(task(tmp_path, dataset, licence="Apache-2.0"))

    found = report.measurement
    assert found.num_compared == 32  # 4 validation images, and training images
    assert 0 <= found.raw_difference < 1e-4
    assert found.score_difference < 1e-3
    assert 0 <= found.ap <= 1
    assert found.ap == pytest.approx(found.torch_ap, abs=0.001)
    assert found.resolution == Resolution(96, 64)
    assert (found.num_timed, found.latency_s > 0) == (100, True)
    assert found.latency_p95_s >= found.latency_s
    assert found.device.endswith(", 1 thread")
    assert found.software.startswith("onnxruntime ")

    files = {each.name: each for each in report.files}
    assert [Path(each.uri).name for each in report.files] == [
        *("model.onnx", "predict.py", "README.md", "card.json", "sample.jpg"),
    ]
    assert found.size_bytes == files["model"].size_bytes
    model = onnx.load_from_string(artifacts.read(files["model"]))
    onnx.checker.check_model(model)
    assert {each.key: each.value for each in model.metadata_props}["licence"] == '"Apache-2.0"'
    stored = artifacts.read_json(f"{tmp_path}/attempt-1/{REPORT_FILE}")
    assert EXPORT_REPORT.validate_python(stored) == report

    card = json.loads(artifacts.read(files["card"]))
    assert card["lineage"] == FACTS["lineage"]
    assert card["export aps"]["test"]["images"] == 3
    assert 0 <= card["export aps"]["test"]["ar1"] <= card["export aps"]["test"]["ar100"] <= 1
    assert set(card["export aps"]["validation"]["by_class"]) == set(tiny.NAMES)
    assert (card["licence"], card["sample"]) == ("Apache-2.0", "sample.jpg")
    assert card["export"]["resolution"] == "96x64"
    picture = Image.open(io.BytesIO(artifacts.read(files["sample"])))
    assert picture.size == (2 * 512, 24 + 512)
    text = artifacts.read(files["readme"]).decode()
    assert "| AR of all, 100 detections | " in text
    assert "Seeds of these steps, in their order: 1, 3." in text
    assert "The licence of the weights that the search started from is `Apache-2.0`" in text
    assert "# s-1-7" in text
    assert "`model.onnx` takes images of 96x64 pixels (width x height)" in text
    assert "| objects | validation (4 images) | test (3 images) |" in text
    assert "1. search first, trial base: trained" in text
    assert "| validation | 96x64 | 25.0 | 50.0 | 20.0 | - | 25.0 | 50.0 |" in text


def test_an_int8_export_is_calibrated_and_compared(dataset: DatasetSpec, tmp_path: Path) -> None:
    spec = ExportSpec(
        precision=Precision.INT8,
        input=Resolution(96, 64),
        max_ap_loss=100,
        calibration_images=4,
        calibration_seed=2,
    )

    report = export_detector(task(tmp_path, dataset, spec=spec))

    found = report.measurement
    assert found.num_at_threshold + found.num_unexplained > 0
    assert (found.kept, found.raw_difference > 1e-3) == ((), True)
    model, readme = (artifacts.read(each) for each in (report.files[0], report.files[2]))
    kinds = {node.op_type for node in onnx.load_from_string(model).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    text = readme.decode()
    assert "computes in int8, calibrated on 4 training images at most (seed 2)." in text
    assert "by more than 0.05 of the score" in text


def test_the_masks_of_an_export_are_compared_and_its_card_has_mask_ap(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    student = tiny.student(Family.MASK_RCNN)
    measured = FACTS["measurements"][0] | {"mask_ap": 0.225, "mask_ap50": 0.45}
    found = export_detector(
        task(
            tmp_path,
            dataset,
            detector=student.detector,
            student=write_weights(str(tmp_path / "masks"), STUDENT, student.weights),
            facts=FACTS | {"measurements": [measured]},
        )
    )

    measurement = found.measurement
    assert measurement.mask_difference is not None
    assert 0 < measurement.mask_difference < 1e-3
    assert measurement.mask_ap == pytest.approx(measurement.torch_mask_ap, abs=0.001)
    files = {each.name: artifacts.read(each) for each in found.files}
    assert len(onnx.load_from_string(files["model"]).graph.output) == 4
    assert json.loads(files["card"])["export aps"]["test"]["mask_ap"] >= 0
    text = files["readme"].decode()
    assert re.search(r"\| masks of all \| \d+\.\d \| \d+\.\d \|", text)
    assert "Masks of equal detections differ by at most" in text
    assert "| AP | AP50 | AP75 | small | medium | large | mask AP | mask AP50 |" in text
    assert "| 25.0 | 50.0 | 20.0 | - | 25.0 | 50.0 | 22.5 | 45.0 |" in text


def test_every_file_of_an_export_has_a_name_of_its_own(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    report = export_detector(task(tmp_path, dataset, spec=OPENVINO))

    names = {each.name: Path(each.uri).name for each in report.files}
    assert names == {
        "model": "model.xml",
        "model-bin": "model.bin",
        "predict": "predict.py",
        "readme": "README.md",
        "card": "card.json",
        "sample": "sample.jpg",
    }
    sizes = {each.name: each.size_bytes for each in report.files}
    assert report.measurement.size_bytes == sizes["model"] + sizes["model-bin"]


class Shifted(TorchRunner):
    """A detector whose scores are wrong on the third image."""

    num_images = 0

    def detect(self, images: Pixels) -> Found:
        found, self.num_images = super().detect(images), self.num_images + 1
        wrong = np.float32(0.01) if self.num_images == 3 else np.float32(0)
        return Found(boxes=found.boxes, scores=found.scores + wrong, labels=found.labels)


def test_an_export_that_finds_something_else_is_not_stored(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(model: Any, folder: Path, _: object) -> Exported:
        return Exported(model=folder / "model.onnx", runner=Shifted(model))

    monkeypatch.setattr(detector_export, "_writer", lambda _: write)

    with pytest.raises(ParityError, match=r"\.png: the detector finds class .* and 0\.01 of score"):
        export_detector(task(tmp_path, dataset))
    assert not (tmp_path / "attempt-1").exists()


def test_a_format_whose_packages_are_missing_names_them(
    dataset: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: str) -> None:
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

    monkeypatch.setattr(detector_export, "import_module", missing)

    with pytest.raises(InvalidValueError, match="needs the package onnxruntime, which is not"):
        export_detector(task(tmp_path, dataset))
    with pytest.raises(InvalidValueError, match=r"pip install 'searchd\[openvino\]'"):
        export_detector(task(tmp_path, dataset, spec=OPENVINO))


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_an_engine_is_refused_where_tensorrt_is_missing(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    spec = ExportSpec(format=ExportFormat.TENSORRT, input=Resolution(96, 64))

    with pytest.raises(InvalidValueError, match=r"package tensorrt.* 'searchd\[tensorrt\]'"):
        export_detector(task(tmp_path, dataset, spec=spec))
