"""Builds teachers the same way for trials and comparisons, and caches their APs."""

import hashlib
import json
from typing import Any

from detection.build import assemble
from detection.data.coco import CocoSplit
from detection.mmdet.config import assemble_mmdet
from detection.stored_weights import read_weights
from elastic_pool.bn_reset import reset_images
from elastic_pool.supernet import Supernet
from elastic_pool.teacher import make_teacher
from searchd import artifacts
from searchd.domain.detector import MmdetDetector
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.messages.tasks import PoolRef, TeacherRef
from searchd.spec import TrainingSpec
from searchd.spec.codecs import SUBNET

COMPARISON_SEED = 0
"""Seed of BN reset wherever a teacher is built outside a trial: the same for every search, since
what is measured of a teacher is kept for all."""


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
    """Build the static detector that equals a subnet: BN reset, in eval mode, frozen.

    Args:
        supernet: The pool's supernet.
        subnet: The subnet that is to teach.
        train_split: Images for BN reset.
        pool: The pool; its `bn_reset_images` is the number of images.
        training: Its batch size and resolutions are those of BN reset.
        seed: Seed of the images' order, their flips and their resolutions.
        device: Device of the teacher.

    Raises:
        InvalidValueError: The subnet is not in the pool's space.
        DataError: An image cannot be read.
    """
    images = reset_images(
        train_split,
        num_images=pool.bn_reset_images,
        batch_size=training.bn_reset_batch_size,
        resolutions=training.resolutions,
        seed=seed,
        max_epochs=1,  # every trial resets its own teacher
    )
    return make_teacher(supernet, subnet, images, device=device)


def load_teacher(teacher: TeacherRef, device: str = "cpu") -> Any:
    """Load a registered teacher, in eval mode and frozen.

    Raises:
        ArtifactError: The stored file is missing or damaged.
        RuntimeError: The weights do not fit the detector.
    """
    detector = teacher.detector
    model: Any = (
        assemble_mmdet(detector) if isinstance(detector, MmdetDetector) else assemble(detector)
    )
    model.load_state_dict(read_weights(teacher.weights), strict=True)
    return model.to(device).eval().requires_grad_(False)


def known_ap(teacher: Subnet | TeacherRef, pool: PoolRef | None, at: Resolution) -> float | None:
    """Return a teacher's AP in [0, 1] on the validation split; None if not measured."""
    if isinstance(teacher, TeacherRef) and at in teacher.aps:
        return teacher.aps[at]
    uri = _ap_uri(teacher, pool, at)
    return float(artifacts.read_json(uri)["ap"]) if artifacts.exists(uri) else None


def store_ap(teacher: Subnet | TeacherRef, pool: PoolRef | None, at: Resolution, ap: float) -> None:
    """Store a teacher's AP beside its weights, which are the supernet's for a subnet."""
    data = json.dumps({"ap": ap}).encode()
    artifacts.write(_ap_uri(teacher, pool, at), data, name="teacher_ap")


def _ap_uri(teacher: Subnet | TeacherRef, pool: PoolRef | None, at: Resolution) -> str:
    if isinstance(teacher, TeacherRef):
        weights, name = teacher.weights, teacher.weights.sha256[:16]
    else:
        assert pool is not None  # the subnet is one of its
        weights = pool.supernet
        name = hashlib.sha256(SUBNET.dump_json(teacher, exclude_defaults=True)).hexdigest()[:16]
    folder = weights.uri.rpartition("/")[0]
    return artifacts.join(folder, "teachers", f"{name}-{at}.json")
