"""A tiny space, its supernet, and what the tests compare of two detectors."""

from typing import Any

import torch
from torch import Tensor, nn

from elastic_pool.supernet import Supernet
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import SubnetSpace
from searchd.spec import HeadSpec, PoolSpec, ShrinkPhaseSpec, SpaceSpec, TrainingSpec

TINY_SPACE = SubnetSpace(
    depths=((1, 2), (1, 2, 3), (1, 2), (1, 2)),
    widths=((1.0, 1.5),) * 4,
    neck_channels=(16, 24),
    base_channels=8,
    channel_divisor=4,
)
TINY_HEAD = HeadSpec(head_channels=32, anchor_scale=4, finest_roi_scale=14, num_proposals=50)


def make_supernet(
    seed: int = 0, space: SubnetSpace = TINY_SPACE, head: HeadSpec = TINY_HEAD
) -> Supernet:
    """In eval mode, with BN weights and statistics far from their initial values."""
    torch.manual_seed(seed)
    supernet = Supernet(space, head, num_classes=3)
    for module in supernet.detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.5, 0.5)
    supernet.detector.eval()
    return supernet


def make_images(seed: int = 5, num: int = 2) -> Tensor:
    """N x 3 x 64 x 64, as if normalised."""
    return torch.randn(num, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def raw_outputs(detector: Any, images: Tensor) -> list[Tensor]:
    """FPN levels, RPN scores and deltas, RoI features, class logits and box deltas."""
    rois = torch.tensor([[0, 5, 5, 30, 40], [1, 1, 2, 60, 50], [1, 10, 10, 20, 20]]).float()
    levels = detector.extract_feat(images)
    scores, deltas = detector.rpn_head(levels)
    features = detector.roi_head.bbox_roi_extractor(levels[:4], rois)
    return [*levels, *scores, *deltas, features, *detector.roi_head.bbox_head(features)]


def largest_difference(first: list[Tensor], second: list[Tensor]) -> float:
    """Largest absolute difference over pairs of equally shaped tensors."""
    assert [tensor.shape for tensor in first] == [tensor.shape for tensor in second]
    return max(float((a - b).detach().abs().max()) for a, b in zip(first, second, strict=True))


def make_pool_spec(**changes: Any) -> PoolSpec:
    """Three phases of 6, 1 and 2 epochs over TINY_SPACE, for images of about 64 pixels."""
    spec = PoolSpec(
        name="tiny",
        dataset="shapes",
        space=SpaceSpec(
            depths=TINY_SPACE.depths,
            widths=TINY_SPACE.widths,
            neck_channels=TINY_SPACE.neck_channels,
            resolutions=(Resolution(64, 64), Resolution(48, 48)),
            base_channels=TINY_SPACE.base_channels,
            channel_divisor=TINY_SPACE.channel_divisor,
        ),
        head=TINY_HEAD,
        phases=(
            _phase("supernet", (2, 3, 2, 2), 1.5, epochs=6, distil=False),
            _phase("shrink-1", (1, 2, 1, 1), 1.5, epochs=1, distil=True),
            _phase("shrink-2", (1, 1, 1, 1), 1.0, epochs=2, distil=True),
        ),
        training=TrainingSpec(
            batch_size=4,
            schedule="step",
            warmup_iterations=2,
            resolutions=(Resolution(64, 64), Resolution(48, 48)),
        ),
        bn_reset_images=8,
        evaluated_subnets=2,
    )
    return spec.model_copy(update=changes)


def _phase(
    name: str, min_depths: tuple[int, int, int, int], min_width: float, *, epochs: int, distil: bool
) -> ShrinkPhaseSpec:
    return ShrinkPhaseSpec(
        name=name,
        min_depths=min_depths,
        min_width=min_width,
        learning_rate=0.02,
        epochs=epochs,
        distil=distil,
    )
