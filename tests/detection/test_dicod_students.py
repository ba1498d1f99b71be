"""DICOD's students and schedules: SSD300, SSD512, QR50, MobileNetV2 (docs/papers.md 5.4)."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from mmengine.config import Config

from detection.measurement.complexity import count
from detection.mmdet.config import find_config
from detection.optimizers import learning_rate
from searchd.domain.resolution import Resolution
from searchd.spec import SearchSpec

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

EXAMPLES = Path(__file__).parents[2] / "examples" / "dicod"
PER_EPOCH = 1000


def spec(name: str) -> SearchSpec:
    return SearchSpec.model_validate(yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()))


@pytest.mark.parametrize(
    ("name", "rate", "batch_size"), [("quarter_resnet50", 0.04, 32), ("mobilenet_v2", 0.02, 16)]
)
def test_faster_rcnn_students_have_the_papers_schedule(
    name: str, rate: float, batch_size: int
) -> None:
    training = spec(name).base.training

    rates = [learning_rate(training, PER_EPOCH * epoch, PER_EPOCH) for epoch in range(1, 12)]

    assert training.batch_size == batch_size
    assert training.resolutions == (Resolution(1333, 800),)
    assert rates == pytest.approx([rate] * 7 + [rate / 10] * 3 + [rate / 100])
    assert (training.momentum, training.weight_decay) == (0.9, 1e-4)


def test_qr50_has_a_quarter_of_resnet50s_channels() -> None:
    architecture = spec("quarter_resnet50").base.architecture

    assert architecture is not None
    assert architecture.stem_channels == 16
    assert architecture.out_channels == (64, 128, 256, 512)
    assert architecture.depths == (3, 4, 6, 3)


@pytest.mark.parametrize("name", ["quarter_resnet50", "mobilenet_v2"])
def test_students_cost_less_than_a_third_of_resnet50s_backbone(name: str) -> None:
    settings = spec(name)
    assert settings.base.architecture is not None
    detector = settings.head.detector(settings.base.architecture, num_classes=80)

    assert count(detector, Resolution(1280, 800)).backbone_macs < 84.08e9 / 3


@pytest.mark.parametrize("name", ["ssd300_coco", "ssd512_coco"])
def test_ssd_is_trained_as_mmdets_config_says(name: str) -> None:
    config: Any = Config.fromfile(find_config(name))

    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.002, 0.9, 5e-4)
    assert config.auto_scale_lr.base_batch_size == 64
    assert config.train_cfg.max_epochs == 24
    assert config.param_scheduler[-1].milestones == [16, 22]
    repeated = config.train_dataloader.dataset
    assert (repeated.type, repeated.times) == ("RepeatDataset", 5)
    steps = {step.type: step for step in repeated.dataset.pipeline}
    assert steps["Expand"].ratio_range == (1, 4)
    assert steps["MinIoURandomCrop"].min_ious == (0.1, 0.3, 0.5, 0.7, 0.9)
    assert steps["RandomFlip"].prob == 0.5
    assert "PhotoMetricDistortion" in steps
    assert steps["Resize"].scale == (int(name[3:6]), int(name[3:6]))
