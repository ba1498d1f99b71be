"""The examples of teachers can be registered as they are."""

from pathlib import Path

import pytest

from cli.service import read_spec
from detection.mmdet.config import Normalisation, find_config, model_config
from searchd.domain.detector import MmdetDetector
from searchd.spec import PoolSpec, TeacherSpec

EXAMPLES = Path(__file__).parents[2] / "examples"
TEACHERS = sorted((EXAMPLES / "teachers").glob("*.yaml"))


def test_there_is_one_of_each_kind() -> None:
    specs = [read_spec(file, TeacherSpec) for file in TEACHERS]
    assert {
        field
        for spec in specs
        for field in ("subnet", "trial", "mmdet", "train")
        if getattr(spec, field) is not None
    } == {"subnet", "trial", "mmdet", "train"}


def test_the_trained_teacher_starts_from_a_config_that_mmdet_ships() -> None:
    train = read_spec(EXAMPLES / "teachers" / "trained_r101.yaml", TeacherSpec).train
    assert train is not None
    assert train.mmdet is not None
    model = model_config(MmdetDetector(config=train.mmdet.config))
    assert Normalisation.of(model["data_preprocessor"], "r101").order == (0, 1, 2)


def test_subnet_is_the_demo_pools_largest() -> None:
    spec = read_spec(EXAMPLES / "teachers" / "subnet.yaml", TeacherSpec)
    pool = read_spec(EXAMPLES / "demo" / "pool.yaml", PoolSpec)
    assert spec.subnet is not None
    assert (spec.subnet.pool, spec.dataset) == (pool.name, pool.dataset)
    assert spec.subnet.subnet == pool.space.space.largest


@pytest.mark.parametrize("name", ["swin_retinanet", "x101_faster_rcnn"])
def test_mmdet_ships_the_config_and_its_images_can_be_converted(name: str) -> None:
    spec = read_spec(EXAMPLES / "teachers" / f"{name}.yaml", TeacherSpec)
    assert spec.mmdet is not None
    assert find_config(spec.mmdet.config).is_file()
    model = model_config(MmdetDetector(config=spec.mmdet.config))
    assert Normalisation.of(model["data_preprocessor"], name).order == (0, 1, 2)
