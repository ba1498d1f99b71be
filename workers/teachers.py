"""Teachers out of a pool as trials and comparisons use them: built alike, their APs kept."""

import hashlib
import json
import math
from typing import Any

from detection.data.batches import TrainingBatches
from detection.data.coco import CocoSplit
from elastic_pool.supernet import Supernet
from elastic_pool.teacher import make_teacher
from searchd import artifacts
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.spec import SUBNET, PoolRef, TrainingSpec


def build_teacher(
    supernet: Supernet,
    subnet: Subnet,
    train_split: CocoSplit,
    *,
    pool: PoolRef,
    training: TrainingSpec,
    seed: int,
    device: str,
) -> Any:
    """A static detector that equals the subnet: BN reset, in eval mode, frozen.

    Args:
        supernet: The pool's.
        subnet: Which teacher.
        train_split: Its images reset BN.
        pool: Says how many images do.
        training: Its batch size and resolutions are those of the images.
        seed: Of their order.
        device: Where the teacher is to be.
    """
    batches = TrainingBatches(
        train_split,
        batch_size=training.batch_size,
        resolutions=training.resolutions,
        seed=seed,
    )
    wanted = math.ceil(pool.bn_reset_images / training.batch_size)
    num_batches = min(wanted, batches.num_iterations)
    images = (batches.batch(step).inputs for step in range(num_batches))
    return make_teacher(supernet, subnet, images, device=device)


def known_ap(pool: PoolRef, subnet: Subnet, resolution: Resolution) -> float | None:
    """The teacher's AP on the pool's validation split, if it was measured."""
    uri = _ap_uri(pool, subnet, resolution)
    return float(artifacts.read_json(uri)["ap"]) if artifacts.exists(uri) else None


def keep_ap(pool: PoolRef, subnet: Subnet, resolution: Resolution, ap: float) -> None:
    """Keep a teacher's AP beside the pool's supernet."""
    data = json.dumps({"ap": ap}).encode()
    artifacts.write(_ap_uri(pool, subnet, resolution), data, name="teacher_ap")


def _ap_uri(pool: PoolRef, subnet: Subnet, resolution: Resolution) -> str:
    name = hashlib.sha256(SUBNET.dump_json(subnet)).hexdigest()[:16]
    folder = pool.supernet.uri.rpartition("/")[0]
    return artifacts.join(folder, "teachers", f"{name}-{resolution}.json")
