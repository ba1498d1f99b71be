"""Options of the recipe in a training: they resume to the bit, and do what they say."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.models import FasterRCNN
from torch import distributed

from detection import batch_size
from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.training import Training
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec, MethodSpec, MethodsSpec, TrainingSpec
from tests.detection.two_processes import run_in_two_processes

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

PLAIN: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 2,
    "learning_rate": 0.02,
    "resolutions": ["64x64", "48x48"],
}
EVERYTHING: dict[str, Any] = {
    **PLAIN,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "layer_decay": 0.7,
    "ema": {"decay": 0.9, "warmup": 3},
    "amp": "bf16",
    "crop": {"kind": "min_iou"},
    "scale_jitter": [0.5, 2],
    "photometric_distortion": {},
    "frozen_stages": 1,
    "norm_eval": True,
    "bn_l1": 1e-4,
}


def tiny(seed: int = 1, neck_channels: int = 16) -> FasterRCNN:
    torch.manual_seed(seed)
    return build_detector(
        Detector(
            architecture=preset("resnet18", base_channels=8),
            num_classes=4,
            neck_channels=neck_channels,
            head_channels=32,
            anchor_scale=4.0,
            num_proposals=20,
        )
    )


def recipe(**values: Any) -> TrainingSpec:
    return TrainingSpec.model_validate({**PLAIN, **values})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, num_train=5, num_validation=1, image_size=64)


@pytest.fixture(scope="module")
def shapes(data: DatasetSpec) -> CocoSplit:
    return CocoSplit(data.train)


def training(shapes: CocoSplit, spec: TrainingSpec, seed: int = 1, **values: Any) -> Training:
    student, teacher = tiny(seed), tiny(2, 24)
    torch.manual_seed(3)
    chosen = Distiller(MethodsSpec().methods, teacher, pair_of(student, teacher, shapes))
    return Training(
        student,
        shapes,
        spec,
        seed=0,
        distiller=chosen,
        teacher_resolution=Resolution(96, 96),
        **values,
    )


def copied(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    shapes: CocoSplit, data: DatasetSpec, tmp_path: Path
) -> None:
    spec = TrainingSpec.model_validate(EVERYTHING)
    straight = training(shapes, spec)
    expected = [done.losses for done in straight.run()]
    first = training(shapes, spec)
    seen = [done.losses for done in islice(first.run(), 4)]
    torch.save(first.state_dict(), tmp_path / "resume.pt")

    second = training(CocoSplit(data.train), spec, seed=9)
    second.load_state_dict(torch.load(tmp_path / "resume.pt", weights_only=True))
    seen += [done.losses for done in second.run()]

    assert seen == expected
    for name in ("model", "adapters", "average"):
        found, right = second.state_dict()[name], straight.state_dict()[name]
        torch.testing.assert_close(found, right, rtol=0, atol=0)


def test_state_from_before_the_recipe_existed_resumes(shapes: CocoSplit) -> None:
    straight = Training(tiny(), shapes, recipe(), seed=0)
    expected = [done.losses for done in straight.run()]
    first = Training(tiny(), shapes, recipe(), seed=0)
    next(first.run())
    state = first.state_dict()
    for new in ("average", "loss_scale", "batch_size"):
        del state[new]

    second = Training(tiny(seed=9), shapes, recipe(), seed=0)
    second.load_state_dict(state)

    assert [done.losses for done in second.run()] == expected[1:]


def test_averaged_weights_are_evaluated_and_do_not_change_the_training(shapes: CocoSplit) -> None:
    plain = Training(tiny(), shapes, recipe(), seed=0)
    averaged = Training(tiny(), shapes, recipe(ema={"decay": 0.9, "warmup": 0}), seed=0)
    expected: dict[str, torch.Tensor] = {}
    for _ in averaged.run():
        for name, value in copied(averaged.model).items():
            expected[name] = (
                expected.get(name, value).lerp(value, 0.1) if "num_" not in name else value
            )
    list(plain.run())

    for name, value in averaged.evaluated_model.named_parameters():
        torch.testing.assert_close(value, expected[name])
    assert plain.evaluated_model is plain.model
    torch.testing.assert_close(averaged.model.state_dict(), plain.model.state_dict())
    assert (
        averaged.evaluated_model.backbone.conv1.weight is not averaged.model.backbone.conv1.weight
    )


def test_frozen_stages_and_their_statistics_do_not_change(shapes: CocoSplit) -> None:
    built = tiny()
    before = copied(built)
    for _ in islice(Training(built, shapes, recipe(frozen_stages=2), seed=0).run(), 2):
        pass

    frozen = ("backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2")
    changed = {name for name, value in built.state_dict().items() if not value.equal(before[name])}
    assert not [name for name in changed if name.startswith(frozen)]
    assert {"backbone.layer3.0.conv1.weight", "backbone.layer3.0.bn1.running_mean"} <= changed


def test_norm_eval_keeps_the_statistics_but_trains_the_weights(shapes: CocoSplit) -> None:
    built = tiny()
    before = copied(built)
    for _ in islice(Training(built, shapes, recipe(norm_eval=True), seed=0).run(), 2):
        pass

    changed = {name for name, value in built.state_dict().items() if not value.equal(before[name])}
    assert not [name for name in changed if "running" in name]
    assert {"backbone.bn1.weight", "backbone.layer4.0.conv1.weight"} <= changed


def test_the_rate_is_scaled_by_the_batch(shapes: CocoSplit) -> None:
    spec = recipe(base_batch_size=16, schedule="step", layer_decay=0.5)

    done = list(Training(tiny(), shapes, spec, seed=0).run())

    assert done[2].finished_epoch is not None
    assert done[2].finished_epoch.learning_rate == pytest.approx(0.02 * 2 / 16)


def test_finding_a_batch_size_changes_nothing(
    shapes: CocoSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_size, "MIN_ITERATIONS", 2)
    methods = (MethodSpec(name="ckd"), MethodSpec(name="proposal_feature"))

    def start(size: Any) -> Training:
        student, teacher = tiny(), tiny(2, 24)
        torch.manual_seed(3)
        chosen = Distiller(methods, teacher, pair_of(student, teacher, shapes))
        spec = recipe(batch_size=size, base_batch_size=16)
        return Training(student, shapes, spec, seed=0, distiller=chosen)

    automatic, given = start("auto"), start(2)

    assert automatic.found_batch_size is not None
    assert automatic.found_batch_size.number == 2
    assert given.found_batch_size is None
    torch.testing.assert_close(
        [automatic.state_dict()[name] for name in ("model", "adapters")],
        [given.state_dict()[name] for name in ("model", "adapters")],
        rtol=0,
        atol=0,
    )
    assert [done.losses for done in automatic.run()] == [done.losses for done in given.run()]


def test_a_resumed_training_keeps_the_batch_size_that_was_found(
    shapes: CocoSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_size, "find_batch_size", lambda *_, **__: pytest.fail("found again"))

    resumed = Training(tiny(), shapes, recipe(batch_size="auto"), seed=0, batch_size=3)

    assert resumed.found_batch_size is None
    assert len(resumed.batches.batch(0).indices) == 3
    assert resumed.state_dict()["batch_size"] == 3


def test_ranks_stay_equal_with_the_whole_recipe(data: DatasetSpec, tmp_path: Path) -> None:
    run_in_two_processes(_rank, data, str(tmp_path))

    zero, one = (torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in (0, 1))

    torch.testing.assert_close(zero, one, rtol=0, atol=0)


def _rank(rank: int, data: DatasetSpec, folder: str) -> None:
    """One of two data-parallel processes."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    spec = TrainingSpec.model_validate(EVERYTHING)
    chosen = training(CocoSplit(data.train), spec, rank=rank, world_size=2)
    for _ in islice(chosen.run(), 2):
        pass
    averaged = {n: p.detach() for n, p in chosen.evaluated_model.named_parameters()}
    torch.save(averaged, f"{folder}/rank{rank}.pt")
    distributed.destroy_process_group()
