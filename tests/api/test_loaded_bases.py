"""The weights that a run starts from are checked when it is submitted, and complete its head."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from api import loaded_bases
from api.client import ApiError, Client
from api.submission import SubmissionChecks
from detection.base_check import answer
from detection.build import build_detector
from detection.mmdet.config import build_config, model_config
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family, MmdetDetector
from searchd.messages.base_check import Answer, Request
from searchd.spec import BaseSpec, HeadSpec, MethodsSpec, MmdetSpec, PretrainedSpec, StudentSpec
from searchd.spec.codecs import DETECTOR
from searchd.store import Database
from tests.api.service import Service, serve
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    distillation_spec,
    pool_spec,
    search_spec,
)

pytestmark = pytest.mark.timeout(120)  # one check is a process that imports torch

CONFIG = "retinanet_r18_fpn_1x_coco"
OPTIONS: dict[str, Any] = {
    "backbone.base_channels": 8,
    "neck.in_channels": [8, 16, 32, 64],
    "neck.out_channels": 16,
    "bbox_head.in_channels": 16,
    "bbox_head.feat_channels": 24,
    "bbox_head.stacked_convs": 2,
}


def stored_checkpoint(folder: Path) -> BaseSpec:
    """A base of mmdet with four classes."""
    described = MmdetDetector(config=CONFIG, num_classes=4, options=OPTIONS)
    path = folder / "epoch_12.pth"
    torch.save({"state_dict": build_config(model_config(described)).state_dict()}, path)
    return BaseSpec(mmdet=MmdetSpec(config=CONFIG, checkpoint=path, options=OPTIONS))


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that reads the files that specs name."""
    checks = SubmissionChecks(files=True)
    with serve(tmp_path_factory.mktemp("api"), checks=checks) as service:
        yield service


@pytest.fixture
def resources(database: Database) -> None:
    add_dataset(database)
    add_pool(database)


@pytest.mark.usefixtures("resources")
def test_head_of_a_search_follows_the_checkpoint(client: Client, tmp_path: Path) -> None:
    base = stored_checkpoint(tmp_path)
    none = MethodsSpec(methods=())
    spec = search_spec(base=base, head=HeadSpec(sampled_rois=16), distillation=none)

    created = client.submit_search(spec)

    assert created.spec.head == HeadSpec(
        family=Family.RETINANET,
        neck_channels=16,
        tower_channels=24,
        tower_convs=2,
        sampled_rois=16,
    )


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks run here, since another process takes seconds to import torch."""

    def found(request: str, state: object) -> Answer:
        del state
        return answer(Request.model_validate_json(request))

    monkeypatch.setattr(loaded_bases, "_answer", found)


@pytest.mark.usefixtures("resources", "in_this_process")
def test_family_of_the_checkpoint_may_be_given(client: Client, tmp_path: Path) -> None:
    head = HeadSpec(family=Family.RETINANET, sampled_rois=16)
    spec = search_spec(
        base=stored_checkpoint(tmp_path), head=head, distillation=MethodsSpec(methods=())
    )

    assert client.submit_search(spec).spec.head.family is Family.RETINANET


@pytest.mark.usefixtures("resources", "in_this_process")
def test_another_head_than_the_checkpoints_is_refused(client: Client, tmp_path: Path) -> None:
    spec = search_spec(
        base=stored_checkpoint(tmp_path),
        head=HeadSpec(tower_convs=4),
        distillation=MethodsSpec(methods=()),
    )

    with pytest.raises(ApiError, match=r"tower_convs 4 in the search, 2 in the checkpoint"):
        client.validate(spec)


@pytest.mark.usefixtures("resources", "in_this_process")
def test_methods_must_fit_the_family_of_the_checkpoint(client: Client, tmp_path: Path) -> None:
    spec = search_spec(base=stored_checkpoint(tmp_path))  # by Joint-DetNAS's methods

    with pytest.raises(ApiError, match="retinanet"):
        client.validate(spec)


@pytest.mark.usefixtures("resources", "in_this_process")
def test_head_of_a_distillation_follows_an_export(client: Client, tmp_path: Path) -> None:
    detector = Detector(
        architecture=preset("resnet18", base_channels=4),
        num_classes=4,
        neck_channels=8,
        head_channels=16,
    )
    torch.save({"state_dict": build_detector(detector).state_dict()}, tmp_path / "checkpoint.pth")
    (tmp_path / "detector.json").write_bytes(DETECTOR.dump_json(detector))

    created = client.submit_distillation(
        distillation_spec(student=StudentSpec(base=BaseSpec(export=tmp_path)))
    )

    assert created.spec.head == HeadSpec(neck_channels=8, head_channels=16)


@pytest.mark.usefixtures("resources")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>Sign in</html>", "it is an HTML or XML page"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:", "it is an ONNX model"),
    ],
)
def test_a_file_of_another_kind_is_refused_at_once(
    content: bytes, reason: str, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    bases = [
        BaseSpec(mmdet=MmdetSpec(config=CONFIG, checkpoint=path)),
        BaseSpec(pretrained=PretrainedSpec(file=path)),
    ]

    for base in bases:
        with pytest.raises(ApiError, match=rf"model\.pth cannot be read: {reason}"):
            client.validate(search_spec(base=base))


@pytest.mark.usefixtures("resources")
def test_a_missing_file_is_refused_with_its_field(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    mmdet = BaseSpec(mmdet=MmdetSpec(config=CONFIG, checkpoint=path))
    pretrained = BaseSpec(pretrained=PretrainedSpec(file=path))

    for base, field in ((mmdet, "base.mmdet.checkpoint"), (pretrained, "base.pretrained.file")):
        with pytest.raises(ApiError, match=rf'^{field}: ".*model\.pth" does not exist'):
            client.validate(search_spec(base=base))


@pytest.mark.usefixtures("resources", "in_this_process")
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("retinanet_r50-caffe_fpn_1x_coco", "caffe style of ResNet, with the stride on the first"),
        ("fcos_r50-caffe_fpn_gn-head_1x_coco", "subtracts the mean"),
        ("retinanet_r18_fpn_2x_coco", "mmdet ships no config"),
    ],
)
def test_a_detector_that_cannot_be_a_base_is_refused_with_the_reason(
    config: str, reason: str, client: Client, tmp_path: Path
) -> None:
    shipped = CONFIG if config == "retinanet_r18_fpn_2x_coco" else config
    with torch.device("meta"):
        model = build_config(model_config(MmdetDetector(config=shipped, num_classes=4)))
    weights = {name: torch.zeros(()).expand(w.shape) for name, w in model.state_dict().items()}
    torch.save(weights, tmp_path / "model.pth")
    base = BaseSpec(mmdet=MmdetSpec(config=config, checkpoint=tmp_path / "model.pth"))

    with pytest.raises(ApiError, match=reason):
        client.validate(search_spec(base=base))


@pytest.mark.usefixtures("in_this_process")
def test_a_pretrained_backbone_of_another_kind_is_refused(
    http: httpx.Client, database: Database, tmp_path: Path
) -> None:
    """Pools have bottleneck blocks."""
    add_dataset(database)
    basic = build_detector(Detector(architecture=preset("resnet18", base_channels=8)))
    torch.save(basic.backbone.state_dict(), tmp_path / "resnet.pth")
    spec = pool_spec(pretrained=PretrainedSpec(file=tmp_path / "resnet.pth"))

    response = http.post("/pools", json=spec.model_dump(mode="json"))

    assert response.status_code == 422
    assert "does not fit a backbone of bottleneck blocks" in response.json()["detail"]
