"""Costs and APs of real teachers, step by step as the tasks do, without Ray."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ray.exceptions import RayTaskError
from safetensors.torch import load_file, save_file

from detection.adaptation.cost import adaptation_costs
from detection.build import Student, build_detector, load_student
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.data.views import FixedViews
from elastic_pool.supernet import Supernet
from searchd import artifacts
from searchd.domain.architecture import preset
from searchd.domain.distillation_plan import STUDENT_NAME
from searchd.domain.resolution import Resolution
from searchd.messages.tasks import AdaptationCostTask, Comparison, Inherited, PoolRef, TeacherRef
from searchd.spec import HeadSpec, SpaceSpec, SplitSpec, TrainingSpec
from workers.comparison.adaptation_costs import compare
from workers.comparison.steps import costs_of, fit, gather_part, measure_part, prepare_teacher

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SIZE = Resolution(64, 64)
HEAD = HeadSpec(
    neck_channels=4, head_channels=32, anchor_scale=4.0, finest_roi_scale=16, num_proposals=50
)
SPACE = SpaceSpec(
    depths=((1, 2), (1,), (1,), (1,)),
    widths=((1.0,),) * 4,
    neck_channels=(4, 6),
    resolutions=(SIZE,),
    base_channels=8,
)
TEACHERS = {"small": SPACE.space.smallest, "large": SPACE.space.largest}
PAIRS = ((STUDENT_NAME, "small"), (STUDENT_NAME, "large"), ("small", "large"))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> AdaptationCostTask:
    folder = tmp_path_factory.mktemp("comparison")
    dataset = make_shapes(folder / "shapes", num_train=12, num_validation=4, image_size=64)
    torch.manual_seed(0)
    detector = HEAD.detector(preset("resnet18", base_channels=8), num_classes=4)
    supernet = Supernet(SPACE.space, HEAD, num_classes=4)
    files = {"supernet": supernet.weights(), "student": build_detector(detector).state_dict()}
    stored = {}
    for name, weights in files.items():
        file = folder / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in weights.items()}, file)
        stored[name] = artifacts.write(str(file), file.read_bytes(), name=name)
    return AdaptationCostTask(
        dataset=dataset,
        student=Inherited(detector=detector, student=stored["student"]),
        pool=PoolRef(supernet=stored["supernet"], space=SPACE, head=HEAD, bn_reset_images=8),
        teachers=TEACHERS,
        pairs=PAIRS,
        resolution=SIZE,
        normalize="none",
        training=TrainingSpec(batch_size=4, resolutions=(SIZE,)),
        num_parts=3,
        cpus=1,
        gpus=0,
    )


def test_costs_of_tasks_are_those_of_one_pass(task: AdaptationCostTask) -> None:
    assert task.compared == ["large", "small", STUDENT_NAME]
    made = {name: prepare_teacher(task, name)[1] for name in ("large", "small")}
    teachers = [each for each in made.values() if isinstance(each, tuple)]
    assert len(teachers) == 2

    maps = fit(*(gather_part(task, part, *teachers) for part in range(3)))
    errors = [measure_part(task, part, maps, *teachers) for part in range(3)]
    found = costs_of(task, *errors)

    models = {
        name: load_student(Student(detector=detector, weights=dict(weights)))
        for name, (detector, weights) in zip(("large", "small"), teachers, strict=True)
    }
    models[STUDENT_NAME] = load_student(
        Student(
            detector=task.student.detector,
            weights=load_file(task.student.student.uri),
        )
    )
    train, validation = (
        FixedViews(split=CocoSplit(split), resolutions=dict.fromkeys(models, SIZE), batch_size=4)
        for split in (task.dataset.train, task.dataset.validation)
    )
    whole = adaptation_costs(models, train, validation, pairs=PAIRS)
    assert {(a, b): cost for a, targets in found.items() for b, cost in targets.items()} == {
        (a, b): pytest.approx(whole[a][b], rel=1e-6) for a, b in PAIRS
    }
    assert all(cost > 0 for targets in found.values() for cost in targets.values())


def test_registered_teachers_are_compared_like_subnets(task: AdaptationCostTask) -> None:
    _, made = prepare_teacher(task, "small")
    assert isinstance(made, tuple)
    folder = Path(task.student.student.uri).parent
    save_file({k: v.contiguous() for k, v in made[1].items()}, folder / "registered.safetensors")
    uri = str(folder / "registered.safetensors")
    stored = artifacts.write(uri, Path(uri).read_bytes(), name="teacher")
    teacher = TeacherRef(detector=made[0], weights=stored, aps={SIZE: 0.5})
    pair = ((STUDENT_NAME, "mine"),)
    alone = task.model_copy(update={"pool": None, "teachers": {"mine": teacher}, "pairs": pair})

    ap, found = prepare_teacher(alone, "mine")
    assert (ap, found) == (0.5, teacher)
    sums = [gather_part(alone, part, teacher) for part in range(3)]
    errors = [measure_part(alone, part, fit(*sums), teacher) for part in range(3)]

    with_pool = task.model_copy(update={"pairs": ((STUDENT_NAME, "small"),)})
    sums = [gather_part(with_pool, part, made) for part in range(3)]
    expected = [measure_part(with_pool, part, fit(*sums), made) for part in range(3)]
    assert costs_of(alone, *errors)[STUDENT_NAME]["mine"] == pytest.approx(
        costs_of(with_pool, *expected)[STUDENT_NAME]["small"], rel=1e-6
    )


def test_student_may_see_smaller_images_than_its_teachers(task: AdaptationCostTask) -> None:
    small = task.model_copy(
        update={"student_resolution": Resolution(32, 32), "pairs": ((STUDENT_NAME, "small"),)}
    )
    _, made = prepare_teacher(small, "small")
    assert isinstance(made, tuple)
    sums = [gather_part(small, part, made) for part in range(3)]
    errors = [measure_part(small, part, fit(*sums), made) for part in range(3)]

    assert costs_of(small, *errors)[STUDENT_NAME]["small"] > 0


def test_task_without_images_has_nothing_to_say(task: AdaptationCostTask) -> None:
    many = task.model_copy(update={"num_parts": 100})
    assert gather_part(many, 99) is None
    assert measure_part(many, 99, {}) is None


def test_ap_is_measured_once_and_a_teacher_of_known_ap_is_built_for_costs_alone(
    task: AdaptationCostTask,
) -> None:
    alone = task.model_copy(update={"pairs": (), "resolution": Resolution(48, 48)})

    first_ap, first = prepare_teacher(alone, "small")
    assert task.pool is not None
    folder = Path(task.pool.supernet.uri).parent / "teachers"
    (file,) = folder.glob("*-48x48.json")
    kept = artifacts.read_json(str(file))
    file.write_text('{"ap": 0.125}')

    assert kept == {"ap": first_ap}
    assert first is not None
    assert prepare_teacher(alone, "small") == (0.125, None)


@pytest.mark.e2e
@pytest.mark.usefixtures("local_ray")
class TestTasks:
    """The steps as Ray tasks."""

    def test_costs_and_aps_come_back(self, task: AdaptationCostTask) -> None:
        found = compare(task, lambda: False)

        assert found is not None
        assert {(a, b) for a, targets in found.costs.items() for b in targets} == set(PAIRS)
        assert list(found.performance) == ["small", "large"]
        again = compare(task.model_copy(update={"pairs": ()}), lambda: False)
        assert again == Comparison(costs={}, performance=found.performance)

    def test_cancelled_comparison_ends_at_once(
        self, task: AdaptationCostTask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workers.comparison.adaptation_costs.POLL_S", 0.0)
        assert compare(task, lambda: True) is None

    def test_failure_says_why(self, task: AdaptationCostTask) -> None:
        nowhere = SplitSpec(annotations=Path("/nowhere.json"), images=Path("/nowhere"))
        dataset = task.dataset.model_copy(update={"train": nowhere})
        with pytest.raises(RayTaskError, match="nowhere.json: the annotation file cannot be read"):
            compare(task.model_copy(update={"dataset": dataset}), lambda: False)
