"""Teachers of every kind as a user registers or trains them: real service, real Ray, real
detectors."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from api.client import Client
from api.schemas import Teacher
from detection.mmdet.config import assemble_mmdet
from searchd.domain.lifecycle import SearchStatus, TeacherStatus, TrialStatus
from searchd.spec import MmdetSpec, PoolSpec, PoolSubnetSpec, SearchSpec, TeacherSpec
from tests.detection.test_teacher_loading import described
from tests.e2e.specs import ONE_AT_A_TIME, POOL, SEARCH

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
    assert "with 4 classes, as the data set has: 2 of another shape: bbox_head.retina_cls" in (
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


def test_a_teacher_is_fine_tuned_and_teaches_a_search_beside_the_pool(
    client: Client, tmp_path: Path
) -> None:
    source = described("ResNeXt, Faster R-CNN", num_classes=7)
    torch.manual_seed(0)
    file = tmp_path / "other-classes.safetensors"
    save_file(assemble_mmdet(source).state_dict(), file)
    start = {"config": source.config, "checkpoint": file, "options": dict(source.options)}
    training = {"epochs": 20, "batch_size": 4, "learning_rate": 0.01, "resolutions": ["64x64"]}
    spec = {
        "name": "fine-tuned",
        "dataset": "shapes",
        "resolution": "64x64",
        "train": {"mmdet": start, "training": training},
    }
    client.create_teacher(TeacherSpec.model_validate(spec))
    search = {
        **SEARCH,
        "name": "mixed",
        "pool": None,
        "teachers": {"pool": "teachers", "registered": ["fine-tuned"], "registered_share": 0.99},
        "strategy": {"student_frozen_trials": 2, "min_channels": 2, "teach_by_weaker": True},
        "budget": {"max_trials": 3, "finish": None},
        "resources": ONE_AT_A_TIME,
        "control": False,
    }
    client.submit_search(SearchSpec.model_validate(search))

    _wait_until(lambda: len(client.get_teacher("fine-tuned").epochs) >= 2)
    client.ask_of_teacher("fine-tuned", "pause")
    _wait_until(lambda: client.get_teacher("fine-tuned").status is TeacherStatus.PAUSED)
    assert client.get_search("mixed").status is SearchStatus.QUEUED
    client.ask_of_teacher("fine-tuned", "resume")
    teacher = client.wait_for_teacher("fine-tuned", poll_s=0.2)

    check_measured(teacher, (4, 8, 16, 32, 64), 6)
    assert [epoch.epoch for epoch in teacher.epochs] == [*range(1, 21)]
    assert teacher.epochs[-1].losses["loss"] < teacher.epochs[0].losses["loss"]
    messages = [event.message for event in client.teacher_events("fine-tuned")]
    assert any(text.startswith("loaded 344 of 348 weights") for text in messages)
    anew = "these start anew, since they depend on the classes: roi_head.bbox_head.fc_cls.weight"
    assert any(text.startswith(f"{anew} (8, 16) instead of (5, 16)") for text in messages)
    ended = client.wait_for_search("mixed", poll_s=0.2)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    found = {trial.name: trial for trial in client.trials("mixed")}
    assert found["0"].teacher == str(PoolSpec.model_validate(POOL).space.space.largest)
    assert found["1"].teacher == "fine-tuned"
    assert found["1"].checks is not None
    assert teacher.measurement is not None
    assert found["1"].checks.teacher_ap == teacher.measurement.ap
    assert {trial.status for trial in found.values()} == {TrialStatus.SUCCEEDED}


def _wait_until(condition: Callable[[], bool], timeout_s: float = 300) -> None:
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.1)
