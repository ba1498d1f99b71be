"""Makes teachers from a trained pool: load the supernet once, then make any number of subnets.

Joint-DetNAS section 3.1.3: a sampled subnet gets its own BN statistics, is frozen, and teaches one
trial.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from detection.build import load_student
from detection.stored_weights import read_weights
from elastic_pool.bn_reset import reset_bn
from elastic_pool.supernet import Supernet, extract
from searchd.domain.subnet import Subnet
from searchd.messages.tasks import PoolRef


def load_supernet(pool: PoolRef, num_classes: int) -> Supernet:
    """Load a trained pool's supernet onto the CPU. Keep it, since all teachers are made from it.

    Args:
        pool: The trained pool.
        num_classes: Foreground classes of the data set that it was trained on.

    Raises:
        ArtifactError: The stored file is missing or damaged.
        RuntimeError: The weights do not fit the space, the head or the number of classes.
    """
    supernet = Supernet(pool.space.space, pool.head, num_classes)
    supernet.load(read_weights(pool.supernet))
    return supernet


def make_teacher(
    supernet: Supernet,
    subnet: Subnet,
    images: Iterable[Tensor],
    *,
    device: torch.device | str = "cpu",
) -> Any:
    """Make a static mmdet FasterRCNN that equals a subnet: BN reset, in eval mode, frozen.

    Args:
        supernet: The pool's supernet, which is not changed.
        subnet: The subnet that is to teach.
        images: Training images for BN reset, in batches of N x 3 x H x W, normalised.
        device: Device of the teacher. Images are moved there.

    Raises:
        InvalidValueError: The subnet is not in the pool's space, or there are no images.
    """
    teacher: Any = load_student(extract(supernet, subnet)).to(device).eval().requires_grad_(False)
    reset_bn(teacher, (batch.to(device) for batch in images))
    return teacher
