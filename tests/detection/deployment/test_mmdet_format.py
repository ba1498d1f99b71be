"""Exported configs and checkpoints find in mmdet what the detectors find here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from detection.build import Student, build_detector, load_student
from detection.deployment import mmdet_format
from detection.exported_base import read_export
from detection.morphism.deformable import with_deformable_convs
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.errors import InvalidValueError
from tests.detection.deployment import tiny
from tests.detection.deployment.round_trips import COVERED, SIZES, check_equal, check_loaded

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("family", COVERED)
def test_round_trip(family: Family, tmp_path: Path) -> None:
    student = tiny.student(family, COVERED[family])
    model = load_student(student).eval()

    exported = mmdet_format.write(model, tmp_path, tiny.request(detector=student.detector))

    check_equal(model, exported, *SIZES)
    check_loaded(mmdet_format, exported, tiny.noise(75, 130))
    assert [file.name for file in exported.parts] == [
        *("config.py", "detector.json", "searchd_backbone.py"),
    ]
    assert "PYTHONPATH=. python" in exported.usage
    found = read_export(tmp_path)
    assert (found.student.detector, found.class_names) == (student.detector, tiny.NAMES)


def test_a_checkpoint_without_its_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"checkpoint\.pth cannot be loaded: .*config\.py"):
        mmdet_format.load(tmp_path / "checkpoint.pth", num_threads=1)


@pytest.mark.matrix
@pytest.mark.parametrize("kind", tiny.KINDS, ids=str)
@pytest.mark.parametrize("family", Family)
def test_round_trip_of_every_family_and_kind(
    family: Family, kind: tiny.Kind, tmp_path: Path
) -> None:
    student = tiny.student(family, kind)
    model = load_student(student).eval()

    exported = mmdet_format.write(model, tmp_path, tiny.request(detector=student.detector))

    check_equal(model, exported, *SIZES)


def test_deformable_convolutions_are_exported_too(tmp_path: Path) -> None:
    student = with_deformable_convs(tiny.student(Family.RETINANET), {4})
    model = load_student(student).eval()

    exported = mmdet_format.write(model, tmp_path, tiny.request(detector=student.detector))

    check_equal(model, exported, *SIZES)
    assert read_export(tmp_path).student.detector == student.detector


@pytest.mark.parametrize("plain", [False, True], ids=["with its module", "plain mmdet"])
def test_mmdet_loads_it_without_searchd(plain: bool, tmp_path: Path) -> None:
    student = a_resnet18() if plain else tiny.student(Family.FCOS)
    model = load_student(student).eval()
    exported = mmdet_format.write(model, tmp_path, tiny.request(detector=student.detector))
    program = (
        "import sys; from mmdet.apis import init_detector;"
        "model = init_detector('config.py', 'checkpoint.pth', device='cpu');"
        "print(type(model.backbone).__name__, 'detection' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | {"PYTHONPATH": "" if plain else ".", "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    kind = "ResNet" if plain else "ArchitectureBackbone"
    assert done.stdout.splitlines()[-1] == f"{kind} False"
    if plain:
        check_equal(model, exported, *SIZES)
        assert "Plain mmdet loads it: its backbone is mmdet's ResNet-18." in exported.usage


def a_resnet18() -> Student:
    torch.manual_seed(0)
    detector = Detector(
        architecture=preset("resnet18", base_channels=8),
        num_classes=3,
        family=Family.RETINANET,
        neck_channels=16,
        tower_channels=16,
        tower_convs=1,
    )
    model = build_detector(detector)
    torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=1.0)
    torch.nn.init.zeros_(model.bbox_head.retina_cls.bias)
    return Student(detector=detector, weights=model.state_dict())
