"""Teachers of all three kinds as a user registers them: real service, real Ray, real detectors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from api.client import Client
from api.schemas import Teacher
from detection.mmdet.config import assemble_mmdet
from searchd.domain.lifecycle import TeacherStatus
from searchd.spec import MmdetSpec, PoolSpec, PoolSubnetSpec, TeacherSpec
from tests.detection.test_teacher_loading import described
from tests.e2e.specs import POOL

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SWIN = described("Swin, RetinaNet")


def checkpoint(folder: Path, *, num_classes: int = 4) -> MmdetSpec:
    torch.manual_seed(0)
    model = assemble_mmdet(described("Swin, RetinaNet", num_classes))
    file = folder / "swin.safetensors"
    save_file(model.state_dict(), file)
    return MmdetSpec(config=SWIN.config, checkpoint=file, options=dict(SWIN.options))


def registered(client: Client, **values: object) -> Teacher:
    """The teacher once it was evaluated."""
    spec = TeacherSpec.model_validate({"dataset": "shapes", "resolution": "64x64", **values})
    return client.wait_for_teacher(client.create_teacher(spec).id, poll_s=0.2)


def check_measured(teacher: Teacher, strides: tuple[int, ...], channels: int) -> None:
    assert teacher.status is TeacherStatus.READY, teacher.status_reason
    assert teacher.measurement is not None
    assert 0 <= teacher.measurement.ap <= teacher.measurement.ap50 <= 1
    assert teacher.measurement.macs > 1e6
    assert teacher.measurement.latency_s > 0
    assert [(level.stride, level.channels) for level in teacher.levels] == [
        (stride, channels) for stride in strides
    ]
    assert teacher.weights is not None
    assert Path(teacher.weights.uri).stat().st_size == teacher.weights.size_bytes


def test_a_swin_that_mmdet_trained_is_ready_with_ap_macs_and_levels(
    client: Client, tmp_path: Path
) -> None:
    teacher = registered(client, name="swin", mmdet=checkpoint(tmp_path))

    check_measured(teacher, (8, 16, 32, 64, 128), 6)
    assert teacher.kind == "retinanet_swin-t-p4-w7_fpn_1x_coco"


def test_a_checkpoint_of_other_classes_fails_with_the_layer(client: Client, tmp_path: Path) -> None:
    teacher = registered(client, name="seven", mmdet=checkpoint(tmp_path, num_classes=7))

    assert teacher.status is TeacherStatus.FAILED
    assert "with 4 classes, as the data set has: of another shape: bbox_head.retina_cls" in (
        teacher.status_reason
    )


def test_subnets_and_students_are_teachers_too(client: Client, search: str) -> None:
    pool = PoolSpec.model_validate(POOL)
    subnet = PoolSubnetSpec(pool=pool.name, subnet=pool.space.space.largest)

    largest = registered(client, name="largest", subnet=subnet)
    student = registered(client, name="student", trial=f"{search}-0")

    check_measured(largest, (4, 8, 16, 32, 64), 24)
    check_measured(student, (4, 8, 16, 32, 64), 16)
    (at_its_best,) = [
        each
        for each in client.get_trial(f"{search}-0").evaluations
        if str(each.resolution) == "64x64"
    ]
    assert student.measurement is not None
    assert student.measurement.ap == at_its_best.ap
    assert student.measurement.macs == at_its_best.macs
