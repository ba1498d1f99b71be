"""Analyses of trained detectors from the command line: small ones, with weights of their own."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from detection.build import build_detector
from detection.data.shapes import make_shapes
from detection.distillation.sgfi import Sgfi
from elastic_pool.supernet import Supernet
from searchd import artifacts
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.distillation_methods import MethodName
from searchd.domain.lifecycle import PoolStatus, SearchStatus, TeacherStatus
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import Artifact, Train
from searchd.messages.reports import EpochMetrics
from searchd.spec import DatasetSpec, MethodSpec, MethodsSpec, TeachersSpec
from searchd.store import Database
from searchd.store.resources import datasets, pools, searches, teachers
from searchd.store.work import queue
from tests.cli.conftest import Run
from tests.elastic_pool.tiny import TINY_HEAD, TINY_SPACE, make_pool_spec
from tests.searchd.store.factories import (
    SMALL,
    base_proposal,
    evaluation,
    leased,
    pool_report,
    run_trial,
    search_proposal,
    search_spec,
    succeeded,
    teacher_report,
    trained_teacher,
)

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

STUDENT = Detector(
    architecture=preset("resnet18", base_channels=8),
    num_classes=4,
    neck_channels=16,
    head_channels=32,
    anchor_scale=4,
    finest_roi_scale=14,
    num_proposals=50,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What workers would have written."""

    dataset: DatasetSpec
    student: Artifact
    adapters: Artifact
    supernet: Artifact


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("stored")
    torch.manual_seed(0)
    student = build_detector(STUDENT)
    torch.nn.init.normal_(student.roi_head.bbox_head.fc_cls.weight)  # or nothing is found
    adapters = Sgfi(16, max(TINY_SPACE.neck_channels)).state_dict()
    weights = {
        "student": student.state_dict(),
        "adapters": {f"sgfi.{name}": value for name, value in adapters.items()},
        "supernet": Supernet(TINY_SPACE, TINY_HEAD, num_classes=4).weights(),
    }
    files = {
        name: artifacts.write(str(folder / name), save(value), name=name)
        for name, value in weights.items()
    }
    dataset = make_shapes(folder / "shapes", num_train=8, num_validation=8, image_size=64)
    return Stored(dataset=dataset, **files)


@pytest.fixture
def method(request: pytest.FixtureRequest) -> MethodName:
    """What the search distils by."""
    return getattr(request, "param", MethodName.SGFI)


@pytest.fixture
def is_registered(request: pytest.FixtureRequest) -> bool:
    """Whether the teacher is a registered one, and not a subnet."""
    return getattr(request, "param", False)


@pytest.fixture
def trial(database: Database, stored: Stored, method: MethodName, is_registered: bool) -> str:
    """Id of a trial that was distilled from the smallest subnet of a pool, or from a registered
    teacher."""
    with database.write() as session:
        dataset = datasets.create(session, stored.dataset)
    with leased(database, f"dataset_check-{dataset.id}") as (session, lease):
        datasets.record_ready(session, lease, {"class_names": ["a", "b", "c", "d"]})
    with database.write() as session:
        pool = pools.create(session, make_pool_spec(name="teachers", bn_reset_images=2))
    with leased(database, f"pool-{pool.id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        report = replace(pool_report(pool.id), supernet=stored.supernet, subnets=())
        pools.record_report(session, lease, report)
    distillation = MethodsSpec(methods=(MethodSpec(name=method),))
    teacher_id = _registered(database, stored)
    registered = TeachersSpec(registered=("strong",))
    with database.write() as session:
        spec = search_spec(distillation=distillation, teachers=registered)
        search = searches.create(session, spec)
    with leased(database, f"search-{search.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
    report_of_base = replace(
        succeeded("base"),
        detector=STUDENT,
        evaluations=(evaluation(SMALL, 0.25),),
        epochs=(_epoch(1, {"loss_cls": 2.0, "loss": 2.0}), _epoch(2, {"loss_cls": 1.0})),
        artifacts=(stored.student,),
    )
    run_trial(database, lease, base_proposal(), report_of_base)
    report_of_child = replace(
        report_of_base,
        trial="0",
        evaluations=(evaluation(SMALL, 0.5),),
        epochs=(_epoch(1, {"loss_cls": 0.5, "sgfi": 4.0}),),
        artifacts=(stored.student, stored.adapters),
    )
    strong = RegisteredTeacher(teacher=teacher_id)
    teacher = strong if is_registered else TINY_SPACE.smallest
    proposal = search_proposal(0, change=Train(), teacher=teacher)
    run_trial(database, lease, proposal, report_of_child)
    return f"{search.id}-0"


def _registered(database: Database, stored: Stored) -> str:
    """Register the student's weights as a trained teacher; return its id."""
    with database.write() as session:
        row = teachers.create(session, trained_teacher())
    report = replace(teacher_report(), detector=STUDENT, weights=stored.student)
    with leased(database, f"teacher_training-{row.id}") as (session, lease):
        queue.advance(session, lease, TeacherStatus.TRAINING, "started")
        teachers.record_report(session, lease, report)
    return row.id


def _epoch(number: int, losses: dict[str, float]) -> EpochMetrics:
    return EpochMetrics(epoch=number, losses=losses, learning_rate=0.01, duration_s=1.0)


def _assert_drawn(file: Path) -> None:
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert min(image.size) > 400


def test_errors_of_a_trial_are_sorted_at_every_threshold(
    searchd: Run, trial: str, tmp_path: Path
) -> None:
    plot = tmp_path / "errors.png"
    result = searchd("analyse", "errors", trial, "--plot", plot, "--format", "json")
    found = json.loads(result.stdout)["detectors"][trial]
    assert [each["threshold"] for each in found] == [
        0.5,
        0.55,
        0.6,
        0.65,
        0.7,
        0.75,
        0.8,
        0.85,
        0.9,
        0.95,
    ]
    assert set(found[0]["lost_ap"]) == {
        "classification",
        "localisation",
        "both",
        "duplicate",
        "background",
        "missed",
    }
    assert sum(found[0]["counts"].values()) > 20
    _assert_drawn(plot)


def test_errors_of_detections_in_files_need_no_service(
    offline: Run, stored: Stored, tmp_path: Path
) -> None:
    annotations = stored.dataset.validation.annotations
    truth = json.loads(annotations.read_text())["annotations"]
    detections = [
        {key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5} for a in truth
    ]
    file = tmp_path / "detections.json"
    file.write_text(json.dumps(detections))
    options = ("--annotations", annotations, "--detections", file)
    result = offline("analyse", "errors", *options, "--format", "json")
    (found,) = json.loads(result.stdout)["detectors"].values()
    assert found[9]["ap"] == pytest.approx(1)
    assert "100.0" in offline("analyse", "errors", *options).stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "a list of objects with bbox, category_id, image_id, score"),
        ('[{"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]', "on image 99"),
    ],
)
def test_what_is_no_file_of_detections_is_refused(
    offline: Run, stored: Stored, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "detections.json"
    file.write_text(content)
    annotations = stored.dataset.validation.annotations
    options = ("--annotations", annotations, "--detections", file)
    result = offline("analyse", "errors", *options)
    assert (result.exit_code, message in result.stderr) == (2, True)


def test_errors_want_trials_or_files(offline: Run) -> None:
    result = offline("analyse", "errors")
    assert (result.exit_code, "give trials, or" in result.stderr) == (2, True)


def test_a_landscape_has_its_flatness(searchd: Run, trial: str, tmp_path: Path) -> None:
    plot = tmp_path / "landscape.png"
    options = ("--points", "3", "--images", "2", "--extent", "0.5", "--plot", plot)
    result = searchd("analyse", "landscape", trial, *options, "--format", "json")
    found = json.loads(result.stdout)
    assert found["coordinates"] == [-0.5, 0, 0.5]
    assert found["losses"][1][1] == found["centre"] > 0
    assert found["max_increase"] >= found["mean_increase"]
    _assert_drawn(plot)
    assert searchd("analyse", "landscape", trial, "--points", "4").exit_code == 2


def test_levels_are_matched_with_the_teachers(searchd: Run, trial: str, tmp_path: Path) -> None:
    plot = tmp_path / "levels.png"
    found = json.loads(
        searchd("analyse", "levels", trial, "--plot", plot, "--format", "json").stdout
    )
    assert found["teacher_strides"] == found["student_strides"] == [4, 8, 16, 32]
    assert sum(found["offsets"].values()) == sum(map(sum, found["counts"])) > 20
    _assert_drawn(plot)


@pytest.mark.parametrize("method", [MethodName.CKD], indirect=True)
def test_levels_of_a_search_without_sgfi_are_refused(searchd: Run, trial: str) -> None:
    result = searchd("analyse", "levels", trial)
    assert (result.exit_code, result.stderr) == (
        1,
        "error: search first distils by ckd; only sgfi matches levels\n",
    )


def test_logits_are_correlated_with_the_teachers(searchd: Run, trial: str, tmp_path: Path) -> None:
    plot = tmp_path / "logits.png"
    found = json.loads(
        searchd("analyse", "logits", trial, "--plot", plot, "--format", "json").stdout
    )
    assert found["classes"] == ["a", "b", "c", "d"]
    assert [len(found[part]) for part in ("student", "teacher", "difference")] == [4, 4, 4]
    assert found["mean_absolute_difference"] > 0.001
    _assert_drawn(plot)
    assert "mean_absolute_difference" in searchd("analyse", "logits", trial).stdout


@pytest.mark.parametrize("is_registered", [True], indirect=True)
def test_a_registered_teacher_is_loaded_with_its_stored_weights(searchd: Run, trial: str) -> None:
    found = json.loads(searchd("analyse", "logits", trial, "--format", "json").stdout)
    assert found["student"] == found["teacher"], "both have the same weights here"


@pytest.mark.parametrize("analysis", ["levels", "logits"])
def test_a_trial_without_a_teacher_is_refused(searchd: Run, trial: str, analysis: str) -> None:
    base = trial.removesuffix("0") + "base"
    result = searchd("analyse", analysis, base)
    assert result.exit_code == 1
    assert f"trial {base} was trained without a teacher" in result.stderr


def test_curves_run_from_the_base_to_the_trial(searchd: Run, trial: str, tmp_path: Path) -> None:
    plot = tmp_path / "curves.png"
    base = trial.removesuffix("0") + "base"
    result = searchd("analyse", "curves", trial, base, "--plot", plot, "--format", "json")
    found = json.loads(result.stdout)["curves"]
    assert [each["detection_loss"] for each in found[trial]["losses"]] == [2.0, 1.0, 0.5]
    assert [(each["epoch"], each["ap"]) for each in found[trial]["aps"]] == [(2, 0.25), (3, 0.5)]
    assert len(found[base]["losses"]) == 2
    _assert_drawn(plot)
    assert "50.0" in searchd("analyse", "curves", trial).stdout
