"""The steps of `workers.comparison.adaptation_costs`, each a pure function of its arguments.

Detectors are passed between steps as weights, so that a teacher's BN is reset once, whatever the
number of tasks.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from detection.adaptation.cost import costs, gather, measure, merged, solve
from detection.adaptation.neck_levels import PerLevel
from detection.build import Student, load_student
from detection.data.coco import CocoSplit
from detection.data.views import FixedViews
from detection.least_squares import LinearMap, NormalEquations, SquaredError
from detection.measurement.evaluation import evaluate
from detection.stored_weights import read_weights
from elastic_pool.teacher import load_supernet
from searchd.domain.detector import Detector
from searchd.domain.distillation_plan import STUDENT_NAME
from searchd.domain.subnet import Subnet
from searchd.messages.tasks import AdaptationCostTask, TeacherRef
from searchd.spec import SplitSpec
from workers.teachers import COMPARISON_SEED, build_teacher, known_ap, load_teacher, store_ap
from workers.torch_settings import configure_torch

BATCH_SIZE = 8
"""Images per batch in a comparison. It has no influence on costs."""

TeacherSource = tuple[Detector, Mapping[str, Tensor]] | TeacherRef
"""A teacher as tasks pass it on: a detector extracted from the supernet, or a reference to a
registered one."""


def prepare_teacher(task: AdaptationCostTask, name: str) -> tuple[float, TeacherSource | None]:
    """Return a teacher's AP in [0, 1], and the teacher unless no cost needs it.

    Raises:
        ArtifactError: The stored weights are missing or damaged.
        DataError: The data set cannot be read.
    """
    configure_torch(task)
    stored = task.teachers[name]
    ap = known_ap(stored, task.pool, task.resolution)
    if ap is not None and name not in task.compared:
        return ap, None
    if isinstance(stored, TeacherRef):
        source: TeacherSource = stored
        teacher = load_teacher(stored, task.device)
    else:
        teacher, source = _extract_subnet(task, stored)
    if ap is None:
        ap = _ap(teacher, task)
        store_ap(stored, task.pool, task.resolution, ap)
    return ap, source


def _extract_subnet(task: AdaptationCostTask, subnet: Subnet) -> tuple[Any, TeacherSource]:
    """Build a subnet of the pool on the task's device; return it, and its weights to pass on."""
    assert task.pool is not None  # the subnet is one of its
    train_split = CocoSplit(task.dataset.train)
    supernet = load_supernet(task.pool, train_split.num_classes)
    teacher = build_teacher(
        supernet,
        subnet,
        train_split,
        pool=task.pool,
        training=task.training,
        seed=COMPARISON_SEED,
        device=task.device,
    )
    weights = {key: value.cpu() for key, value in teacher.state_dict().items()}
    return teacher, (supernet.static(subnet), weights)


def gather_part(
    task: AdaptationCostTask, part: int, *teachers: TeacherSource
) -> PerLevel[NormalEquations] | None:
    """Sum up the normal equations of the maps over one task's training images.

    Args:
        task: What to compare.
        part: Index of this task among `num_parts`, from 0.
        teachers: The teachers in `task.compared`, in that order.

    Returns:
        The sums; None if the task has no image.
    """
    views = _views(task, task.dataset.train, part)
    if views is None:
        return None
    return gather(_models(task, teachers), views, task.pairs, device=task.device)


def fit(*parts: PerLevel[NormalEquations] | None) -> PerLevel[LinearMap]:
    """Solve for the maps from the sums of all tasks.

    Raises:
        InvalidValueError: There are too few images.
    """
    return solve(merged([part for part in parts if part is not None]))


def measure_part(
    task: AdaptationCostTask, part: int, maps: PerLevel[LinearMap], *teachers: TeacherSource
) -> PerLevel[SquaredError] | None:
    """Measure the maps' errors on one task's validation images; None if the task has no image."""
    views = _views(task, task.dataset.validation, part)
    if views is None:
        return None
    return measure(_models(task, teachers), maps, views, device=task.device)


def costs_of(
    task: AdaptationCostTask, *parts: PerLevel[SquaredError] | None
) -> dict[str, dict[str, float]]:
    """Return the costs as costs[A][B] = C(A, B).

    Raises:
        InvalidValueError: See `detection.adaptation.cost.costs`.
    """
    return costs(merged([part for part in parts if part is not None]), task.normalize)


def _ap(teacher: Any, task: AdaptationCostTask) -> float:
    split = CocoSplit(task.dataset.validation)
    return evaluate(teacher, split, task.resolution, device=task.device).ap


def _views(task: AdaptationCostTask, spec: SplitSpec, part: int) -> FixedViews | None:
    split = CocoSplit(spec)
    indices = range(part, len(split), task.num_parts)
    if not indices:
        return None
    resolutions = dict.fromkeys(task.compared, task.resolution)
    if STUDENT_NAME in resolutions and task.student_resolution is not None:
        resolutions[STUDENT_NAME] = task.student_resolution
    return FixedViews(split=split, resolutions=resolutions, batch_size=BATCH_SIZE, indices=indices)


def _models(task: AdaptationCostTask, teachers: tuple[TeacherSource, ...]) -> dict[str, nn.Module]:
    """Load the compared detectors onto the task's device."""
    configure_torch(task)
    names = [name for name in task.compared if name != STUDENT_NAME]
    sources = dict(zip(names, teachers, strict=True))
    if STUDENT_NAME in task.compared:
        stored = read_weights(task.student.student)
        sources[STUDENT_NAME] = (task.student.detector, stored)
    return {name: _model(each, task.device) for name, each in sources.items()}


def _model(source: TeacherSource, device: str) -> Any:
    if isinstance(source, TeacherRef):
        return load_teacher(source, device)
    detector, weights = source
    return load_student(Student(detector=detector, weights=dict(weights))).to(device)
