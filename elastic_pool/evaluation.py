"""Evaluates a sample of a trained pool's subnets, to show the quality of its teachers."""

import random
from collections.abc import Sequence
from dataclasses import asdict

import torch

from detection.data.coco import CocoSplit
from detection.measurement.complexity import count
from detection.measurement.evaluation import evaluate
from detection.measurement.latency import measure
from elastic_pool.bn_reset import reset_images
from elastic_pool.supernet import Supernet
from elastic_pool.teacher import make_teacher
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.domain.trial import Evaluation
from searchd.messages.reports import EvaluatedSubnet
from searchd.spec import PoolSpec

BN_RESET_BATCH = 32
"""Images per batch of BN reset. Small batches underestimate the variance between images. OFA uses
200 images per batch, too many for the size of detection images."""


def evaluated_subnets(space: SubnetSpace, num: int, *, seed: int) -> tuple[Subnet, ...]:
    """Draw the subnets to evaluate; see `SubnetSpace.sample_with_extremes`."""
    return space.sample_with_extremes(num, random.Random(f"evaluated-{seed}"))


def evaluate_subnet(
    supernet: Supernet,
    subnet: Subnet,
    spec: PoolSpec,
    *,
    train: CocoSplit,
    validation: CocoSplit,
    device: torch.device | str = "cpu",
    resolutions: Sequence[Resolution] = (),
) -> EvaluatedSubnet:
    """Evaluate a subnet after BN reset.

    Args:
        supernet: The supernet, which is not changed.
        subnet: The subnet to evaluate.
        spec: The pool's spec, with the resolutions and the number of images for BN reset.
        train: Images for BN reset.
        validation: Images for AP.
        device: Where to compute.
        resolutions: Where to evaluate; empty: at each of the pool's resolutions.
    """
    images = reset_images(
        train,
        num_images=spec.bn_reset_images,
        batch_size=min(BN_RESET_BATCH, spec.bn_reset_images),
        resolutions=spec.space.resolutions,
        seed=spec.seed,
    )
    teacher = make_teacher(supernet, subnet, images, device=device)
    detector = supernet.static(subnet)

    def at(resolution: Resolution) -> Evaluation:
        precision = evaluate(teacher, validation, resolution, device=device)
        speed = measure(teacher, resolution, device=device)
        return Evaluation(
            resolution=resolution,
            **asdict(precision),
            macs=count(detector, resolution).macs,
            **asdict(speed),
        )

    return EvaluatedSubnet(
        subnet=subnet,
        params=sum(parameter.numel() for parameter in teacher.parameters()),
        evaluations=tuple(at(resolution) for resolution in resolutions or spec.space.resolutions),
    )
