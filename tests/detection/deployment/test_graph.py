"""The form of a detector that is exported computes what mmdet's `predict` computes, in torch."""

import numpy as np
import pytest
import torch

from detection.deployment.check import thresholds_of
from detection.deployment.exported import Found
from detection.deployment.graph import DetectorGraph
from detection.deployment.parity import difference
from detection.deployment.torch_runner import TorchRunner
from searchd.domain.detector import Family
from tests.detection.deployment import tiny

every_family = pytest.mark.parametrize("family", Family)


@every_family
@pytest.mark.parametrize("size", [(96, 64), (75, 130)], ids=["padded by nothing", "padded"])
def test_every_image_of_a_batch_has_the_detections_of_mmdet(
    family: Family, size: tuple[int, int]
) -> None:
    model = tiny.model(family)
    images = [tiny.noise(*size, seed=seed) for seed in (0, 1)]

    with torch.inference_mode():
        found = DetectorGraph(model)(torch.from_numpy(np.concatenate(images)))

    for number, (image, boxes, scores, labels) in enumerate(
        zip(images, found.boxes, found.scores, found.labels, strict=True)
    ):
        expected = TorchRunner(model).detect(image)
        count = len(expected.scores)
        assert count > 5
        ours = Found(
            boxes=boxes[:count].numpy(),
            scores=scores[:count].numpy(),
            labels=labels[:count].numpy(),
            masks=found.masks[0][number, :count].numpy() if family.has_masks else None,
        )
        assert (np.diff(ours.scores) <= 0).all()
        seen = difference(expected, ours, thresholds_of(model), "noise")
        assert (seen.box < 1e-3, seen.score < 1e-5, seen.mask < 1e-5) == (True, True, True)
        assert (seen.num_at_threshold, seen.unexplained) == (0, ())
        assert not boxes[count:].any()
        assert not scores[count:].any()
        assert (labels[count:] == -1).all()
        assert not any(each[number, count:].any() for each in found.masks)


@every_family
def test_raw_outputs_are_those_of_mmdets_head(family: Family) -> None:
    model = tiny.model(family)
    image = tiny.noise(75, 130)

    with torch.inference_mode():
        found = DetectorGraph(model)(torch.from_numpy(image)).raw

    for one, other in zip(found, TorchRunner(model).raw(image), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@every_family
def test_an_image_without_detections_has_none(family: Family) -> None:
    model = tiny.model(family)
    if family.two_stage:
        model.test_cfg.rcnn.score_thr = 1.0
    else:
        model.test_cfg.score_thr = 1.0

    with torch.inference_mode():
        found = DetectorGraph(model)(torch.from_numpy(tiny.noise(96, 64)))

    assert (found.labels == -1).all()
    assert not found.boxes.any()
    assert [each.any().item() for each in found.masks] == [False] * family.has_masks
