"""Teachers in the whole service, with real Ray and workers that evaluate nothing: a crash."""

from pathlib import Path

import pytest

from api.client import Client
from cli.local_service import Service
from searchd.domain.lifecycle import TeacherStatus
from searchd.spec import DatasetSpec, MmdetSpec, SplitSpec, TeacherSpec
from tests import fake_workers
from tests.fake_workers import ACCIDENTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ENVIRONMENT = {**fake_workers.ENVIRONMENT, "SEARCHD_POLL_S": "0.5"}


def test_report_of_a_killed_driver_is_recorded_and_nothing_is_evaluated_twice(
    tmp_path: Path,
) -> None:
    split = SplitSpec(annotations=Path("/data/train.json"), images=Path("/data"))
    mmdet = MmdetSpec(config="ssd300_coco", checkpoint=Path("/data/ssd.pth"))
    service = Service(tmp_path / "data", num_cpus=2, api_port=0, environment=ENVIRONMENT)
    with service, Client(service.url) as client:
        client.create_dataset(DatasetSpec(name=ACCIDENTS, train=split, validation=split))
        spec = TeacherSpec(name="ssd", dataset=ACCIDENTS, mmdet=mmdet)
        teacher = client.wait_for_teacher(client.create_teacher(spec).id, poll_s=0.2)
        messages = [event.message for event in client.teacher_events("ssd")]

    assert (teacher.status, teacher.measurement and teacher.measurement.ap) == (
        TeacherStatus.READY,
        0.4,
    )
    killed = f"the driver exited without finishing (job teacher-{teacher.id}-1 is failed)"
    assert [message for message in messages if killed in message] != []
    folder = Path(service.settings.artifact_root) / "teachers" / teacher.id
    assert [attempt.name for attempt in folder.iterdir()] == ["attempt-1"]
