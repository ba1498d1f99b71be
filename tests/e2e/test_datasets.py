"""A data set is added by its path, refused, added again, and watched for changes of its files."""

from pathlib import Path

import pytest

from api.client import Client
from cli.local_service import Service
from detection.data.shapes import make_shapes
from searchd.domain.lifecycle import DatasetStatus, PoolStatus
from searchd.spec import DatasetImport, PoolSpec
from tests.detection.data import format_writers as writers
from tests.e2e.specs import POOL

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_yolo_folder_is_refused_corrected_and_added_under_the_same_name(
    service: Service, tmp_path: Path
) -> None:
    writers.yolo_ultralytics(tmp_path / "mine")
    label = tmp_path / "mine/labels/train/2.txt"
    good = label.read_text()
    label.write_text("9 0.5 0.5 0.5 0.5")
    request = DatasetImport(name="mine", paths=(tmp_path / "mine",), test_share=0.25)

    with Client(service.url) as client:
        client.create_dataset(request)
        refused = client.wait_for_dataset("mine", poll_s=0.2)
        label.write_text(good)
        client.create_dataset(request)
        added = client.wait_for_dataset("mine", poll_s=0.2)
        samples = client.dataset_samples("mine")
        drawn = client.draw_dataset_sample("mine", 0, max_side=64)
        statistics = client.dataset_statistics("mine")
        files = [split.annotations for split in added.spec.splits.values()]
        assert all(file.exists() for file in files)
        client.delete_dataset("mine")

    assert refused.status is DatasetStatus.FAILED
    assert "class 9 is not one of the 2 classes" in refused.status_reason
    assert added.status is DatasetStatus.READY, added.status_reason
    assert [file.name for file in files] == ["train.json", "validation.json", "test.json"]
    assert {sample.split for sample in samples} == {"train", "validation", "test"}
    assert drawn.startswith(b"\xff\xd8")
    assert statistics.splits["train"]["images"] == 3
    assert not any(file.exists() for file in files)


def test_annotation_file_that_changed_stops_the_pool_until_it_is_checked_again(
    service: Service, tmp_path: Path
) -> None:
    spec = make_shapes(tmp_path / "data", name="moving", num_train=8, num_validation=4)
    pool = PoolSpec.model_validate({**POOL, "name": "moved", "dataset": "moving"})

    with Client(service.url) as client:
        client.create_dataset(spec)
        assert client.wait_for_dataset("moving", poll_s=0.2).status is DatasetStatus.READY
        spec.train.annotations.write_text(spec.train.annotations.read_text() + "\n")
        client.create_pool(pool)
        stopped = client.wait_for_pool("moved", poll_s=0.2)
        client.recheck_dataset("moving")
        checked = client.wait_for_dataset("moving", poll_s=0.2)
        client.delete_failed("pools", "moved")
        client.delete_dataset("moving")

    assert stopped.status is PoolStatus.FAILED
    assert f"{spec.train.annotations}: the annotation file changed" in stopped.status_reason
    assert "searchd dataset recheck" in stopped.status_reason
    assert checked.status is DatasetStatus.READY
    assert spec.train.annotations.exists()
