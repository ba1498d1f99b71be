"""Mixed precision: networks compute in 16 bits, everything else in 32."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmcv.ops import ModulatedDeformConv2dPack
from torch import Tensor, nn

from detection.build import build_detector
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import student_step
from detection.iteration import NonFiniteLossError
from detection.mixed_precision import MixedPrecision, PrecisionError
from detection.training import Training
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec, MethodsSpec, TrainingSpec

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SPEC = TrainingSpec(
    epochs=1, batch_size=2, learning_rate=0.02, resolutions=(Resolution(64, 64),), amp="bf16"
)
METHODS = {
    Family.FASTER_RCNN: MethodsSpec().methods,
    Family.MASK_RCNN: (MethodSpec(name="proposal_feature"), MethodSpec(name="classification")),
    Family.CASCADE_RCNN: (MethodSpec(name="feature_matching"), MethodSpec(name="classification")),
    Family.CASCADE_MASK_RCNN: (MethodSpec(name="feature_matching"),),
    Family.RETINANET: (MethodSpec(name="fgd"), MethodSpec(name="feature_imitation")),
    Family.FCOS: (MethodSpec(name="feature_matching"), MethodSpec(name="mgd")),
    Family.ATSS: (MethodSpec(name="cwd"),),
    Family.GFL: (MethodSpec(name="pkd"),),
    Family.VFNET: (MethodSpec(name="cwd"),),
    Family.TOOD: (MethodSpec(name="feature_matching"),),
}


def model(family: Family = Family.FASTER_RCNN, neck_channels: int = 16) -> Any:
    torch.manual_seed(1)
    return build_detector(
        Detector(
            architecture=preset("resnet18", base_channels=8),
            num_classes=4,
            family=family,
            neck_channels=neck_channels,
            head_channels=32,
            mask_channels=16,
            tower_channels=16,
            tower_convs=1,
            anchor_scale=4.0,
            num_proposals=20,
        )
    )


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder: Path = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=6, num_validation=1, image_size=64).train)


def inputs_of(modules: dict[str, nn.Module]) -> Iterator[dict[str, torch.dtype]]:
    """Record the dtype of the outputs of modules."""
    found: dict[str, torch.dtype] = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, _args, out, name=name: found.__setitem__(name, out.dtype)
        )
        for name, module in modules.items()
    ]
    yield found
    for hook in hooks:
        hook.remove()


def test_networks_compute_in_bf16_and_hand_over_float32(shapes: CocoSplit) -> None:
    built = model()
    training = Training(built, shapes, SPEC, seed=0)
    watched = {
        "conv": built.backbone.layer2[0].conv1,
        "lateral": built.neck.lateral_convs[0].conv,
        "rpn": built.rpn_head.rpn_conv,
        "fc": built.roi_head.bbox_head.shared_fcs[0],
    }
    found = next(recorder := inputs_of(watched))

    with MixedPrecision("bf16", "cpu").networks([built]):
        step = student_step(built, training.batches.batch(0))
    next(recorder, None)

    assert set(found.values()) == {torch.bfloat16}
    assert {loss.dtype for loss in step.losses.values()} == {torch.float32}
    taps = step.taps
    read = [*taps.neck.values(), taps.region_features, taps.embeddings, taps.class_logits]
    assert {tap.dtype for tap in read} == {torch.float32}
    assert "forward" not in vars(built.backbone)  # nothing is left behind
    assert built.backbone.conv1(torch.zeros(1, 3, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize("family", Family)
def test_losses_are_close_to_those_of_float32(family: Family, shapes: CocoSplit) -> None:
    def first_losses(amp: str) -> dict[str, float]:
        student, teacher = model(family), model(family, neck_channels=24)
        torch.manual_seed(2)
        distiller = Distiller(METHODS[family], teacher, pair_of(student, teacher, shapes))
        spec = SPEC.model_copy(update={"amp": amp})
        training = Training(student, shapes, spec, seed=0, distiller=distiller)
        assert training.undistilled_difference() == 0.0
        return next(training.run()).losses

    low, full = first_losses("bf16"), first_losses("off")

    assert low == pytest.approx(full, rel=0.05, abs=0.02)
    assert low != full


def test_fp16_is_refused_on_a_cpu(shapes: CocoSplit) -> None:
    spec = SPEC.model_copy(update={"amp": "fp16"})

    with pytest.raises(PrecisionError, match="amp: fp16 needs a GPU; use bf16, which CPUs have"):
        Training(model(), shapes, spec, seed=0)


def test_deformable_convolutions_stay_in_float32() -> None:
    pack = ModulatedDeformConv2dPack(4, 4, 3, padding=1)
    network = nn.Module()
    network.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), pack)
    seen: list[torch.dtype] = []
    pack.conv_offset.register_forward_hook(lambda _module, args, _out: seen.append(args[0].dtype))

    with MixedPrecision("bf16", "cpu").networks([network]):
        out = network.backbone(torch.rand(1, 3, 9, 9))

    assert seen == [torch.float32]
    assert out.dtype == torch.float32


def test_strided_convolutions_of_one_column_have_right_gradients() -> None:
    """torch's bf16 kernel for CPUs with AMX reads memory that was never written."""
    torch.manual_seed(0)
    network: Any = nn.Module()
    network.backbone = nn.Sequential(nn.Conv2d(16, 16, 3, stride=2, padding=1))
    weight = network.backbone[0].weight

    def gradient(amp: Any, x: Tensor) -> Tensor:
        weight.grad = None
        with MixedPrecision(amp, "cpu").networks([network]):
            network.backbone(x).square().sum().backward()
        found: Tensor = weight.grad
        return found

    for _ in range(30):
        x = torch.randn(2, 16, 3, 1)
        torch.testing.assert_close(gradient("bf16", x), gradient("off", x), rtol=0, atol=0)


def with_scaler(training: Training) -> Training:
    """Give a training on a CPU the loss scale that fp16 has on a GPU."""
    training._precision._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    return training


def test_a_scaled_loss_leads_to_the_same_step(shapes: CocoSplit) -> None:
    plain = Training(model(), shapes, SPEC, seed=0)
    scaled = with_scaler(Training(model(), shapes, SPEC, seed=0))

    losses = [next(training.run()).losses for training in (plain, scaled)]

    assert losses[0] == losses[1]
    for found, expected in zip(scaled.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_step_that_overflows_is_skipped_and_the_scale_is_lowered(shapes: CocoSplit) -> None:
    built = model()
    training = with_scaler(Training(built, shapes, SPEC, seed=0))
    before = {name: value.detach().clone() for name, value in built.named_parameters()}
    hook = built.rpn_head.rpn_reg.bias.register_hook(lambda gradient: gradient * math.inf)
    run = training.run()

    next(run)
    assert all(torch.equal(value, before[name]) for name, value in built.named_parameters())
    assert training.state_dict()["loss_scale"]["scale"] == 2.0**9
    hook.remove()
    next(run)
    assert not torch.equal(built.rpn_head.rpn_reg.bias, before["rpn_head.rpn_reg.bias"])


def test_infinite_gradients_that_no_scale_prevents_are_an_error(shapes: CocoSplit) -> None:
    built = model()
    training = with_scaler(Training(built, shapes, SPEC.model_copy(update={"epochs": 9}), seed=0))
    built.rpn_head.rpn_reg.bias.register_hook(lambda gradient: gradient * math.inf)

    with pytest.raises(NonFiniteLossError, match="step 10 .* gradient_norm"):
        list(training.run())


def test_the_scale_of_the_loss_is_stored_and_restored(shapes: CocoSplit) -> None:
    first = with_scaler(Training(model(), shapes, SPEC, seed=0))
    next(first.run())
    first._precision._scaler.update(64.0)

    second = with_scaler(Training(model(), shapes, SPEC, seed=0))
    second.load_state_dict(first.state_dict())

    assert second.state_dict()["loss_scale"]["scale"] == 64.0
