"""A pool that is imported, as a spec."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from searchd.spec import PoolSpec, SpaceSpec

FOLDER = Path("/data/teachers")


def imported(**fields: object) -> PoolSpec:
    return PoolSpec.model_validate(
        {"name": "mine", "dataset": "photos", "source": FOLDER, **fields}
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"source": "teachers"}, "source='teachers' must be an absolute path"),
        ({"start_from": "other"}, "start_from and pretrained must be left out"),
        ({"pretrained": {"timm": "resnet50.a1_in1k"}}, "start_from and pretrained must be left"),
    ],
    ids=("relative", "start_from", "pretrained"),
)
def test_contradictions_are_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        imported(**fields)


def test_phases_of_an_import_may_have_begun_with_distillation() -> None:
    phases = [{**PoolSpec(name="a", dataset="d").phases[1].model_dump()}]
    assert imported(phases=phases).phases[0].distil
    with pytest.raises(ValidationError, match="the first phase cannot distil"):
        PoolSpec.model_validate({"name": "a", "dataset": "d", "phases": phases})


def test_pool_that_was_trained_in_fp16_can_be_imported_without_a_gpu() -> None:
    assert imported(training={"batch_size": 2, "amp": "fp16"}).gpus_per_worker == 0


def test_space_alone_may_be_given_and_is_compared_with_the_folder_later() -> None:
    space = SpaceSpec(depths=((1,), (1,), (1,), (1,)), widths=((1.0,),) * 4)
    assert imported(space=space).space == space


def test_longer_training_of_an_imported_pool_starts_from_it() -> None:
    longer = imported().extended(epochs=2)
    assert (longer.source, longer.start_from, longer.name) == (None, "mine", "mine-2")
