"""Exported detectors with deformable convolutions, or of another family."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from api import schemas
from detection.build import Student, build_detector, load_student
from detection.export import export
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution
from tests.cli.conftest import Run

DETECTOR = Detector(
    architecture=preset("resnet18", base_channels=8),
    num_classes=2,
    neck_channels=16,
    head_channels=32,
)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The folder that `searchd search export` writes."""
    folder = tmp_path / "export"
    student = Student(detector=DETECTOR, weights=build_detector(DETECTOR).state_dict())
    export(student, folder, class_names=["cat", "dog"], resolution=Resolution(96, 64))
    evaluation = {"resolution": "96x64", "ap": 0.5, "ap50": 0.5, "ap75": 0.5, "macs": 1e9}
    sizes = {"ap_small": -1.0, "ap_medium": -1.0, "ap_large": -1.0}
    speed = {"latency_s": 0.1, "images_per_s": 10.0}
    document = schemas.Detector.model_validate(
        {
            "trial_id": "s-1-0",
            "search_id": "s-1",
            "search": "first",
            "lineage": [],
            "encoding": "",
            "detector": DETECTOR,
            "params": 1,
            "score": 0.5,
            "pinned": False,
            "evaluations": [{**evaluation, **sizes, **speed, "score": 0.5}],
            "artifacts": [],
        }
    )
    (folder / "detector.json").write_text(document.model_dump_json())
    return folder


def test_backbone_becomes_deformable_and_the_detector_a_cascade(
    offline: Run, exported: Path, tmp_path: Path
) -> None:
    result = offline(
        *("tools", "upgrade", exported, "--folder", tmp_path / "up", "--format", "json"),
        *("--deformable", 3, "--deformable", 4, "--family", "cascade_rcnn"),
    )

    assert result.exit_code == 0, result.stderr
    files = json.loads(result.stdout)
    assert "CascadeRCNN" in Path(files["config"]).read_text()
    before, after = load_file(exported / "model.safetensors"), load_file(files["weights"])
    assert "backbone.layer3.0.conv1.conv_offset.weight" in after
    assert "backbone.layer1.0.conv1.conv_offset.weight" not in after
    stem = "backbone.conv1.weight"
    assert torch.equal(after[stem], before[stem])


def test_without_options_the_detector_is_written_as_it_is(
    offline: Run, exported: Path, tmp_path: Path
) -> None:
    result = offline("tools", "upgrade", exported, "--folder", tmp_path / "up")

    assert result.exit_code == 0, result.stderr
    weights = load_file(tmp_path / "up" / "model.safetensors")
    load_student(Student(detector=DETECTOR, weights=weights))


def test_stage_that_does_not_exist_is_refused(offline: Run, exported: Path) -> None:
    result = offline("tools", "upgrade", exported, "--deformable", 5)

    assert result.exit_code == 2
    assert "stages=[5] must lie between 1 and 4" in result.stderr
