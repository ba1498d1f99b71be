"""Plain mmdet loads an exported student and finds what the student finds."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.models import (
    ATSS,
    GFL,
    TOOD,
    BaseDetector,
    CascadeRCNN,
    FasterRCNN,
    MaskRCNN,
    RetinaNet,
    VFNet,
)
from mmdet.structures import DetDataSample
from mmengine.registry import DefaultScope
from safetensors.torch import load_file

from detection.build import Student, build_detector, load_student
from detection.data.batches import fixed_batches
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.export import Export, export
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.resolution import Resolution

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

NAMES = ("circle", "square", "triangle", "cross")
SMALL = Resolution(96, 80)


@pytest.fixture(autouse=True)
def _mmdet_scope_ends_with_the_test() -> Iterator[None]:
    """`init_detector` sets a default scope for the whole process."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


def tiny(family: Family) -> Student:
    torch.manual_seed(0)
    detector = Detector(
        architecture=preset("resnet18", base_channels=8),
        num_classes=4,
        family=family,
        neck_channels=16,
        head_channels=32,
        mask_channels=8,
        tower_channels=16,
        tower_convs=1,
        num_proposals=20,
    )
    model = build_detector(detector)
    for layer in _classifiers(model):  # or nothing is found
        # Scores of TOOD must not be equal, as they are where a class is sure.
        torch.nn.init.normal_(layer.weight, std=0.3 if family is Family.TOOD else 1.0)
        torch.nn.init.zeros_(layer.bias)
    return Student(detector=detector, weights=model.state_dict())


def _classifiers(model: BaseDetector) -> list[Any]:
    match model:
        case CascadeRCNN():
            return [head.fc_cls for head in model.roi_head.bbox_head]
        case FasterRCNN() | MaskRCNN():
            return [model.roi_head.bbox_head.fc_cls]
        case RetinaNet():
            return [model.bbox_head.retina_cls]
        case ATSS():
            return [model.bbox_head.atss_cls]
        case GFL():
            return [model.bbox_head.gfl_cls]
        case VFNet():
            return [model.bbox_head.vfnet_cls]
        case TOOD():
            return [model.bbox_head.tood_cls]
        case _:
            return [model.bbox_head.conv_cls]


@pytest.fixture(scope="module")
def student() -> Student:
    return tiny(Family.FASTER_RCNN)


@pytest.fixture(scope="module")
def exported(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Export:
    folder = tmp_path_factory.mktemp("export")
    return export(student, folder / "new", class_names=NAMES, resolution=SMALL)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=2, num_validation=1, image_size=128).train)


@pytest.mark.parametrize("family", Family)
def test_mmdet_finds_what_the_student_finds(
    family: Family, split: CocoSplit, tmp_path: Path
) -> None:
    student = tiny(family)
    exported = export(student, tmp_path, class_names=NAMES, resolution=SMALL)
    ours = load_student(student).eval()
    (batch,) = fixed_batches(split, SMALL, 2)
    with torch.inference_mode():
        expected: list[DetDataSample] = ours.predict(batch.inputs, batch.samples, rescale=True)

    theirs = init_detector(str(exported.config), str(exported.checkpoint), device="cpu")
    bgr = [np.ascontiguousarray(split.image(i)[..., ::-1]) for i in range(2)]
    found = inference_detector(theirs, bgr)

    assert theirs.dataset_meta["classes"] == list(NAMES)
    for one, other in zip(expected, found, strict=True):
        assert len(one.pred_instances) > 5
        for field in ("bboxes", "scores", "labels"):
            torch.testing.assert_close(
                other.pred_instances[field], one.pred_instances[field], rtol=1e-4, atol=1e-4
            )
        if family.has_masks:  # pixels at the threshold may differ by rounding
            pairs = zip(one.pred_instances.masks, other.pred_instances.masks, strict=True)
            assert all((a != b).float().mean() < 1e-3 for a, b in pairs)
            assert one.pred_instances.masks.any()


def test_files_hold_exactly_the_students_weights(student: Student, exported: Export) -> None:
    stored = torch.load(exported.checkpoint, weights_only=True)["state_dict"]
    tensors = load_file(exported.weights)

    assert list(stored) == list(student.weights)
    for name, value in student.weights.items():
        assert torch.equal(stored[name], value)
        assert torch.equal(tensors[name], value)


def test_exported_folder_is_enough_where_searchd_is_not_installed(
    exported: Export, tmp_path: Path
) -> None:
    program = (
        "import sys; from mmdet.apis import init_detector;"
        "init_detector(sys.argv[1], sys.argv[2], device='cpu');"
        "import detection.backbones.architecture_backbone as module;"
        "print(module.__file__, 'searchd' in sys.modules)"
    )
    folder = exported.config.parent

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, exported.config, exported.checkpoint],
        env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == f"{exported.backbone} False"
