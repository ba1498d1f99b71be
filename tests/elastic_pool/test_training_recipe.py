"""A pool with the options of the training recipe that fit changing subnets."""

import io
from pathlib import Path

import pytest
import torch

from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from elastic_pool.training import PoolTraining
from searchd.spec import PoolSpec
from tests.elastic_pool.tiny import make_pool_spec

pytestmark = pytest.mark.timeout(60)  # a real pool is trained

RECIPE = {
    "optimizer": "adamw",
    "layer_decay": 0.8,
    "amp": "bf16",
    "crop": {"kind": "random"},
    "scale_jitter": [0.8, 1.25],
    "photometric_distortion": {},
}


def spec_with_recipe() -> PoolSpec:
    """Two short phases, the second of which distils."""
    values = make_pool_spec().model_dump(mode="json")
    values["phases"] = [
        {**phase, "epochs": 1} for phase in (values["phases"][0], values["phases"][2])
    ]
    for phase in values["phases"]:
        phase["learning_rate"] = 1e-3
    values["training"] = {**values["training"], "weight_decay": 0.05, **RECIPE}
    return PoolSpec.model_validate(values)


def test_a_pool_is_trained_by_the_recipe_and_resumes_to_the_bit(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data = make_shapes(tmp_path, num_train=8, num_validation=1, image_size=64, num_classes=3)
    split = CocoSplit(data.train)
    straight, checkpoint = PoolTraining(spec_with_recipe(), split), io.BytesIO()
    losses = []
    for at in straight.run():
        losses.append(at.iteration.losses)
        if len(losses) == 3:  # inside the second phase
            torch.save(straight.state_dict(), checkpoint)
    checkpoint.seek(0)

    resumed = PoolTraining(spec_with_recipe(), split)
    resumed.load_state_dict(torch.load(checkpoint, weights_only=True))

    assert len(losses) == 4
    assert {"proposal_feature", "classification"} <= losses[3].keys()
    assert [at.iteration.losses for at in resumed.run()] == losses[3:]
    torch.testing.assert_close(
        dict(resumed.supernet.weights()), dict(straight.supernet.weights()), rtol=0, atol=0
    )
