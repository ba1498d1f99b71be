"""A training on a GPU computes what it computes on a CPU, seldom waits, and stops at nonsense."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.iteration import NonFiniteLossError
from detection.measurement.host_waits import counted_waits
from detection.training import Training
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Outcome, Train, TrialRole
from searchd.spec import MethodsSpec, TrainingSpec
from tests.workers.trial.tasks import base_task, proposal
from workers.trial.run import run_trial

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(120)]

SPEC = TrainingSpec(epochs=2, batch_size=4, learning_rate=0.02, resolutions=(Resolution(128, 128),))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=16, num_validation=4, image_size=128).train)


def detector(neck_channels: int = 32) -> Any:
    torch.manual_seed(1)
    return build_detector(
        Detector(
            architecture=preset("resnet18", base_channels=16),
            num_classes=4,
            neck_channels=neck_channels,
            head_channels=64,
            anchor_scale=4.0,
            num_proposals=100,
        )
    )


def training(shapes: CocoSplit, device: str, **options: Any) -> Training:
    """A training with Joint-DetNAS's distillation."""
    student, teacher = detector(), detector(48)
    torch.manual_seed(2)
    chosen = Distiller(MethodsSpec().methods, teacher, pair_of(student, teacher, shapes))
    spec = SPEC.model_copy(update=options)
    return Training(student, shapes, spec, seed=0, distiller=chosen, device=device, read_every=4)


@pytest.fixture
def exact_float32() -> Any:
    """No TF32, whose products have 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("exact_float32")
def test_the_first_losses_are_those_of_a_cpu(shapes: CocoSplit, device: str) -> None:
    expected = next(training(shapes, "cpu").run()).losses

    found = next(training(shapes, device).run()).losses

    # An anchor at a threshold may be assigned otherwise, so single terms may differ.
    assert found == pytest.approx(expected, rel=0.02)


def test_losses_fall_within_an_epoch(shapes: CocoSplit, device: str) -> None:
    trained = training(shapes, device)

    for _ in trained.run():
        pass

    first, second = trained.epochs
    assert second.losses["loss"] < first.losses["loss"]


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_is_close(shapes: CocoSplit, device: str, amp: str) -> None:
    if device == "cpu" and amp == "fp16":
        pytest.skip("CPUs have no fp16")
    expected = next(training(shapes, device).run()).losses

    found = next(training(shapes, device, amp=amp).run()).losses

    assert found == pytest.approx(expected, rel=0.1, abs=0.05)


def test_a_step_waits_eight_times_as_the_count_says(shapes: CocoSplit, device: str) -> None:
    steps = training(shapes, device).run()
    next(steps)
    with counted_waits() as counted:
        next(steps)

    assert counted.total() == 8
    if device == "cuda":
        assert _waits_of_cuda(lambda: next(steps)) == 8


def _waits_of_cuda(step: Any) -> int:
    """Count what torch itself warns of."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(each.message) for each in found)


def test_a_step_that_is_not_finite_changes_nothing(shapes: CocoSplit, device: str) -> None:
    trained = training(shapes, device)
    factors = iter([1.0, math.inf, 1.0, 1.0])
    trained.model.rpn_head.rpn_reg.bias.register_hook(lambda gradient: gradient * next(factors))
    steps = trained.run()
    next(steps)
    before = {name: value.clone() for name, value in trained.model.named_parameters()}

    with pytest.raises(NonFiniteLossError, match="step 1 has a loss that is not finite"):
        for _ in steps:
            pass

    for name, value in trained.model.named_parameters():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_a_stored_state_continues_on_the_device(
    shapes: CocoSplit, device: str, tmp_path: Path
) -> None:
    straight, first, second = (training(shapes, device) for _ in range(3))
    expected = [done.losses["loss"] for done in straight.run()]
    steps = first.run()
    seen = [next(steps).losses["loss"] for _ in range(3)]
    torch.save(first.state_dict(), tmp_path / "state.pt")

    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    seen += [done.losses["loss"] for done in second.run()]

    assert seen == pytest.approx(expected, rel=0.05)  # a GPU adds up in any order


def test_a_trial_runs_with_readers(device: str, tmp_path: Path) -> None:
    data = make_shapes(tmp_path / "data", num_train=12, num_validation=6, image_size=64)
    task = base_task(data, tmp_path, device=device, num_threads=3)

    report = run_trial(task)

    assert task.num_readers == (2 if device == "cuda" else 0)
    assert report.outcome is Outcome.SUCCEEDED, report.reason
    assert len(report.epochs) == 2
    assert task.proposal == proposal(Train(), TrialRole.BASE)
