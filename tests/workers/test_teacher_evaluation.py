"""Registered teachers of all three kinds are loaded, evaluated and stored, without Ray."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import pair_of
from detection.measurement.complexity import count
from detection.measurement.evaluation import evaluate
from detection.mmdet.config import assemble_mmdet
from elastic_pool.supernet import Supernet
from searchd import artifacts
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.errors import ArtifactError, CheckpointError, DataError
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Artifact
from searchd.messages.codecs import TEACHER_REPORT
from searchd.messages.reports import FeatureLevel
from searchd.messages.tasks import Inherited, PoolRef, TeacherEvaluationTask, TeacherRef
from searchd.spec import DatasetSpec, HeadSpec, MmdetSpec, PoolSubnetSpec, SpaceSpec, TeacherSpec
from tests.detection.test_teacher_loading import described
from workers.teacher_evaluation import evaluate_teacher
from workers.teachers import load_teacher

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
SWIN = described("Swin, RetinaNet")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, seed=0, num_train=8, num_validation=3, image_size=64)


def task(dataset: DatasetSpec, folder: Path, **values: Any) -> TeacherEvaluationTask:
    source = {key: values.pop(key) for key in ("subnet", "trial", "mmdet") if key in values}
    spec = TeacherSpec(name="teacher", dataset=dataset.name, resolution=SIZE, **source)
    return TeacherEvaluationTask(
        teacher="t-1", spec=spec, dataset=dataset, artifacts=str(folder / "attempt-1"), **values
    )


def stored(file: Path, weights: dict[str, Tensor]) -> Artifact:
    save_file({name: value.contiguous() for name, value in weights.items()}, file)
    return artifacts.write(str(file), file.read_bytes(), name=file.stem)


def mmdet(file: Path, detector: MmdetDetector = SWIN) -> MmdetSpec:
    return MmdetSpec(config=detector.config, checkpoint=file, options=detector.options)


def trial(folder: Path, num_classes: int = 4) -> tuple[Detector, Inherited]:
    torch.manual_seed(0)
    detector = HEAD.detector(preset("resnet18", base_channels=8), num_classes)
    weights = build_detector(detector).state_dict()
    student = stored(folder / "student.safetensors", weights)
    return detector, Inherited(detector=detector, student=student)


def test_a_swin_of_mmdets_is_measured_and_stored_as_it_was(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    weights = assemble_mmdet(SWIN).state_dict()
    save_file(weights, tmp_path / "swin.safetensors")

    report = evaluate_teacher(task(dataset, tmp_path, mmdet=mmdet(tmp_path / "swin.safetensors")))

    written = artifacts.read_json(f"{tmp_path}/attempt-1/report.json")
    assert TEACHER_REPORT.validate_python(written) == report
    assert report.detector == SWIN
    assert report.levels == tuple(FeatureLevel(stride=s, channels=6) for s in (8, 16, 32, 64, 128))
    assert report.params == sum(value.numel() for value in assemble_mmdet(SWIN).parameters())
    assert report.evaluation.resolution == SIZE
    assert 0 <= report.evaluation.ap <= 1
    assert report.evaluation.macs > 1e6
    assert report.evaluation.latency_s > 0
    assert report.weights.name == "teacher"
    kept = load_file(report.weights.uri)
    assert kept.keys() == weights.keys()
    assert all(torch.equal(kept[name], weights[name]) for name in weights)


def test_a_trials_student_is_measured_as_a_trial_measures_it(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    detector, student = trial(tmp_path)

    report = evaluate_teacher(task(dataset, tmp_path, trial="s-a-1", student=student))

    assert report.detector == detector
    assert report.params == count(detector, SIZE).params
    assert report.evaluation.macs == count(detector, SIZE).macs
    assert report.weights.uri == f"{tmp_path}/attempt-1/teacher.safetensors"


def test_a_subnet_is_stored_with_bn_statistics_of_its_own(
    dataset: DatasetSpec, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    supernet = Supernet(SPACE.space, HEAD, num_classes=4)
    pool = PoolRef(
        supernet=stored(tmp_path / "supernet.safetensors", supernet.weights()),
        space=SPACE,
        head=HEAD,
        bn_reset_images=8,
    )
    subnet = SPACE.space.largest
    source = PoolSubnetSpec(pool="teachers", subnet=subnet)

    report = evaluate_teacher(task(dataset, tmp_path, subnet=source, pool=pool))

    kept = load_file(report.weights.uri)
    assert report.detector == supernet.static(subnet)
    assert [level.channels for level in report.levels] == [6] * 5
    assert kept["backbone.bn1.running_mean"].abs().max() > 0  # a new one has zeros


def test_a_stored_teacher_is_what_distillations_load(dataset: DatasetSpec, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(assemble_mmdet(SWIN).state_dict(), tmp_path / "swin.safetensors")
    report = evaluate_teacher(task(dataset, tmp_path, mmdet=mmdet(tmp_path / "swin.safetensors")))

    teacher = load_teacher(TeacherRef(detector=report.detector, weights=report.weights))

    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    found = evaluate(teacher, CocoSplit(dataset.validation), SIZE)
    assert found.ap == report.evaluation.ap
    train_split = CocoSplit(dataset.train)
    student = build_detector(trial(tmp_path)[0])
    assert pair_of(student, teacher, train_split).teacher.strides == (8, 16, 32, 64, 128)


def test_other_classes_than_the_data_sets_are_refused(dataset: DatasetSpec, tmp_path: Path) -> None:
    _, student = trial(tmp_path, num_classes=7)
    with pytest.raises(DataError, match="train.json has 4 classes, but the teacher has 7"):
        evaluate_teacher(task(dataset, tmp_path, trial="s-a-1", student=student))

    file = tmp_path / "seven.safetensors"
    save_file(assemble_mmdet(described("Swin, RetinaNet", num_classes=7)).state_dict(), file)
    with pytest.raises(CheckpointError, match="with 4 classes, as the data set has: 2 of another"):
        evaluate_teacher(task(dataset, tmp_path, mmdet=mmdet(file)))
    assert not (tmp_path / "attempt-1").exists()


def test_a_student_that_is_gone_is_an_error(dataset: DatasetSpec, tmp_path: Path) -> None:
    _, student = trial(tmp_path)
    Path(student.student.uri).unlink()
    with pytest.raises(ArtifactError, match="student is missing"):
        evaluate_teacher(task(dataset, tmp_path, trial="s-a-1", student=student))
