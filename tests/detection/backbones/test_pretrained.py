"""A detector starts from the backbones of torchvision and timm and computes what they compute."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from detection.backbones.pretrained import Pretrained, check_form, load_pretrained, start_from
from detection.build import assemble, build_detector
from detection.families import PIXEL_MEAN, PIXEL_STD
from searchd.domain.architecture import Architecture, preset, with_implied_shortcuts
from searchd.domain.detector import Detector
from searchd.domain.errors import CheckpointError
from searchd.spec import PretrainedSpec
from tests.detection.backbones.published import picture, published, summary, weights

pytestmark = pytest.mark.timeout(60)  # backbones of full size are built

MEAN = [mean / 255 for mean in PIXEL_MEAN]
STD = [std / 255 for std in PIXEL_STD]


def detector(architecture: Architecture) -> Detector:
    return Detector(architecture=architecture, neck_channels=8, head_channels=8)


def started(architecture: Architecture, pretrained: Pretrained) -> tuple[Any, tuple[str, ...]]:
    """The backbone after the start, in eval mode, and the notes."""
    torch.manual_seed(0)
    state = build_detector(detector(architecture)).state_dict()
    notes = start_from(state, pretrained, architecture)
    model = assemble(detector(architecture))
    model.load_state_dict(state)
    return model.backbone.eval(), notes


def outputs(backbone: Any, image: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return list(backbone(image))


def thin(depths: tuple[int, ...] = (1, 1, 1, 1), base: int = 4) -> Architecture:
    """A bottleneck ResNet with few channels."""
    widths = [[(base << i, base << i, base << (i + 2))] * depth for i, depth in enumerate(depths)]
    return with_implied_shortcuts(preset("resnet50").kind, widths, stem_channels=8)


def thin_weights(architecture: Architecture) -> dict[str, Tensor]:
    """Weights of a ResNet as torchvision names them."""
    state = assemble(detector(architecture)).backbone.state_dict()
    shapes = {name: list(value.shape) for name, value in state.items()}
    return weights(shapes | {"fc.weight": [10, 8], "fc.bias": [10]})


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("torchvision/resnet18", "resnet18"),
        ("torchvision/resnet50", "resnet50"),
        ("torchvision/resnext50_32x4d", "resnext50_32x4d"),
        ("torchvision/mobilenet_v2", "mobilenet_v2"),
        ("timm/resnet50", "resnet50"),
        ("timm/mobilenetv2_100", "mobilenet_v2"),
    ],
)
def test_outputs_equal_those_of_the_library(library: str, name: str, tmp_path: Path) -> None:
    entry = published(library)
    save_file(weights(entry["shapes"]), tmp_path / "model.safetensors")
    file = PretrainedSpec(file=tmp_path / "model.safetensors")

    check_form(file, preset(name))
    backbone, notes = started(preset(name), load_pretrained(file))

    found = summary(outputs(backbone, picture(MEAN, STD)))
    assert torch.allclose(torch.tensor(found), torch.tensor(entry["outputs"]), rtol=1e-3, atol=1e-3)
    assert len(notes) == 1
    assert notes[0].startswith(
        f"{(n := len(backbone.state_dict()))} of {n} tensors of the backbone"
    )


def test_another_deviation_is_folded_into_the_first_convolution() -> None:
    stored = thin_weights(thin())
    halves = Pretrained(name="x", weights=stored, mean=MEAN, std=[0.5, 0.4, 0.3])

    folded, _ = started(thin(), halves)
    plain, _ = started(thin(), Pretrained(name="x", weights=stored))

    theirs = outputs(plain, picture(MEAN, [0.5, 0.4, 0.3]))
    ours = outputs(folded, picture(MEAN, STD))
    assert torch.allclose(theirs[3], ours[3], rtol=1e-4, atol=1e-4)


def test_another_mean_is_refused() -> None:
    half = Pretrained(name="timm's x", weights=thin_weights(thin()), mean=[0.5] * 3, std=[0.5] * 3)

    with pytest.raises(CheckpointError, match=r"timm's x subtracts the mean \(0.5, 0.5, 0.5\)"):
        started(thin(), half)


def test_a_wider_and_deeper_backbone_computes_the_pretrained_one_in_its_first_channels() -> None:
    small, large = thin(), thin((1, 2, 1, 3), base=6)
    pretrained = Pretrained(name="x", weights=thin_weights(small))

    exact, _ = started(small, pretrained)
    wider, notes = started(large, pretrained)

    image = picture(MEAN, STD)
    for one, other in zip(outputs(exact, image), outputs(wider, image), strict=True):
        assert torch.allclose(one, other[:, : one.shape[1]], rtol=1e-4, atol=1e-4)
    assert [note.split(":")[0] for note in notes] == [
        "22 of 156 tensors of the backbone are those of x",
        "80 tensors are copied in part, since this backbone is of another width",
        "54 tensors are of this backbone only, and untrained",
    ]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (
            "torchvision/resnet18",
            r"does not fit a backbone of bottleneck blocks: they have no .*conv3",
        ),
        ("torchvision/mobilenet_v2", r"they have no conv1.weight, layer1.0.conv1.weight"),
    ],
)
def test_another_kind_of_backbone_is_refused(stored: str, message: str) -> None:
    pretrained = Pretrained(name="x", weights=weights(published(stored)["shapes"]))

    with pytest.raises(CheckpointError, match=message):
        started(preset("resnet50"), pretrained)


def test_a_deep_stem_and_attention_are_refused() -> None:
    plain = thin_weights(thin())
    deep = {name: value for name, value in plain.items() if name != "conv1.weight"}
    attention = plain | {"layer1.0.se.fc1.weight": torch.ones(1)}

    with pytest.raises(CheckpointError, match=r"they have no conv1.weight"):
        started(thin(), Pretrained(name="x", weights=deep | {"conv1.0.weight": torch.ones(1)}))
    with pytest.raises(CheckpointError, match=r"they have layer1.0.se.fc1.weight too"):
        started(thin(), Pretrained(name="x", weights=attention))


def test_a_grouped_backbone_needs_weights_of_the_same_groups() -> None:
    pretrained = Pretrained(name="x", weights=weights(published("timm/resnet50")["shapes"]))

    with pytest.raises(CheckpointError, match=r"layer1.0.conv2.weight has the shape"):
        started(preset("resnext50_32x4d"), pretrained)


class Weights:
    """An entry of torchvision, with the parts that are used."""

    def transforms(self) -> Any:
        return SimpleNamespace(mean=[0.485, 0.456, 0.406], std=[0.5, 0.5, 0.5])

    def get_state_dict(self, *, progress: bool) -> dict[str, Tensor]:
        assert progress is False
        return {"conv1.weight": torch.ones(2)}


def installed(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = ModuleType(name)
    module.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name.partition(".")[0], module)
    monkeypatch.setitem(sys.modules, name, module)


def test_weights_are_loaded_through_torchvision_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"ResNet50_Weights.IMAGENET1K_V2": Weights()}
    installed(monkeypatch, "torchvision.models", get_weight=known.__getitem__)

    found = load_pretrained(PretrainedSpec(torchvision="ResNet50_Weights.IMAGENET1K_V2"))

    assert found.name == "torchvision's ResNet50_Weights.IMAGENET1K_V2"
    assert list(found.weights) == ["conv1.weight"]
    assert list(found.std) == [0.5, 0.5, 0.5]
    with pytest.raises(CheckpointError, match=r"has no weights 'ResNet50' \(for example"):
        load_pretrained(PretrainedSpec(torchvision="ResNet50"))


def test_weights_are_loaded_through_timm_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def create_model(name: str, *, pretrained: bool) -> Any:
        assert pretrained
        if name != "resnet50.a1_in1k":
            raise RuntimeError(f"Unknown model ({name})")
        config = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        return SimpleNamespace(pretrained_cfg=config, state_dict=lambda: {"a": torch.ones(1)})

    installed(monkeypatch, "timm", create_model=create_model)

    found = load_pretrained(PretrainedSpec(timm="resnet50.a1_in1k"))

    assert found.name == "timm's resnet50.a1_in1k"
    assert found.mean == (0.485, 0.456, 0.406)
    with pytest.raises(CheckpointError, match=r"cannot load the weights 'none' \(Unknown model"):
        load_pretrained(PretrainedSpec(timm="none"))
    with pytest.raises(CheckpointError, match="pads as TensorFlow does"):
        load_pretrained(PretrainedSpec(timm="tf_mobilenetv2_100"))


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_package_that_is_missing_is_named_with_the_way_without_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.models", None)

    with pytest.raises(CheckpointError, match=rf"needs the package {package}, .*pretrained.file"):
        load_pretrained(PretrainedSpec.model_validate({package: "x"}))
