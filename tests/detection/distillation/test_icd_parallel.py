"""ICD's losses over data-parallel ranks that have different numbers of instances."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

from detection.data.batches import make_batch
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.icd import Icd
from detection.distillation.method import Pair, Sizes
from searchd.domain.method_options import IcdOptions
from searchd.domain.resolution import Resolution
from searchd.spec import SplitSpec
from tests.detection.distillation.known import taps
from tests.detection.two_processes import run_in_two_processes

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SIZES = Sizes(
    two_stage=True,
    num_classes=4,
    strides=(8,),
    neck_channels=16,
    embedding_channels=None,
    num_anchors=1,
)
FEW = IcdOptions(fake_per_object=2, max_instances=5)


NUM_OBJECTS = ((1, 3), (3, 0))
"""Of both ranks, at two steps."""
NUM_INSTANCES = ((3, 5), (5, 0))
"""An object has 2 fakes; there is room for 2 of the 6 of three."""


def losses_of(rank: int, spec: SplitSpec) -> list[dict[str, float]]:
    """A rank's losses at each step."""
    torch.manual_seed(0)
    split = CocoSplit(spec)
    method = Icd.build(FEW, Pair(student=SIZES, teacher=SIZES, train_split=split))
    return [_step(method, split, rank, objects[rank]) for objects in NUM_OBJECTS]


def _step(method: Icd, split: CocoSplit, rank: int, num_objects: int) -> dict[str, float]:
    torch.manual_seed(rank)
    batch = make_batch(split, [rank], Resolution(64, 64), [False])
    sample = batch.samples[0]
    sample.gt_instances = sample.gt_instances[torch.zeros(num_objects).long()]
    student = taps(batch=batch, step=0, neck={8: torch.randn(1, 16, 8, 8)})
    losses = method.losses(student, taps(neck={8: torch.randn(1, 16, 8, 8)}))
    method.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in method.parameters())  # else ranks would differ
    return {name: float(loss.detach()) for name, loss in losses.items()}


def test_auxiliary_losses_are_means_over_the_instances_of_all_ranks(tmp_path: Path) -> None:
    spec = make_shapes(tmp_path / "shapes", num_train=2, num_validation=1, image_size=64).train
    alone = [losses_of(rank, spec) for rank in range(2)]

    run_in_two_processes(_rank, spec, str(tmp_path))

    together = [torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in range(2)]
    for name, counts in {"identification": NUM_INSTANCES, "regression": NUM_OBJECTS}.items():
        for step in range(2):
            means = [rank[step][name] for rank in alone]
            found = np.mean([rank[step][name] for rank in together])
            assert found == pytest.approx(np.average(means, weights=counts[step]), rel=1e-5)


def _rank(rank: int, spec: SplitSpec, folder: str) -> None:
    """One of two data-parallel processes."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.save(losses_of(rank, spec), f"{folder}/rank{rank}.pt")
    distributed.destroy_process_group()
