"""Checkpoints are read as people have them, and each kind of unreadable file has its sentence."""

import io
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, ExponentialMovingAverage
from safetensors.torch import save_file
from torch import Tensor, nn

from detection.checkpoint_files import differences, read_checkpoint, read_weights
from searchd.domain.errors import CheckpointError

WEIGHTS = {"backbone.conv1.weight": torch.ones(2, 3), "neck.bias": torch.arange(4.0)}
AVERAGED = {name: weight + 10 for name, weight in WEIGHTS.items()}


def prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: weight for name, weight in weights.items()}


def stored(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(WEIGHTS, id="plain state_dict"),
        pytest.param({"state_dict": WEIGHTS, "meta": {"epoch": 3}}, id="mmengine"),
        pytest.param({"state_dict": prefixed("module.", WEIGHTS)}, id="DataParallel"),
        pytest.param({"model": WEIGHTS, "optimizer": {"state": {}}, "epoch": 3}, id="torchvision"),
        pytest.param({"model_state_dict": WEIGHTS, "loss": 0.5}, id="plain loop"),
        pytest.param({"net": prefixed("_orig_mod.module.", WEIGHTS)}, id="compiled"),
        pytest.param(
            {
                "state_dict": prefixed("model.", WEIGHTS) | {"loss.weight": torch.ones(1)},
                "pytorch-lightning_version": "2.4",
                "hyper_parameters": defaultdict(list, rate=[1]),
            },
            id="Lightning",
        ),
    ],
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_weights_are_found_wherever_training_loops_store_them(
    content: object, is_zip: bool, tmp_path: Path
) -> None:
    path = stored(tmp_path / "model.pth", content, _use_new_zipfile_serialization=is_zip)

    assert_equal(read_weights(path), WEIGHTS)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"state_dict": WEIGHTS, "state_dict_ema": AVERAGED}, "state_dict_ema"),
        (
            {
                "model": WEIGHTS,
                "model_ema": {"n_averaged": torch.tensor(7)} | prefixed("module.", AVERAGED),
            },
            "model_ema",
        ),
        ({"model": WEIGHTS, "ema": {"module": AVERAGED, "updates": 9}}, "ema.module"),
        ({"state_dict": WEIGHTS, "ema_state_dict": AVERAGED}, "ema_state_dict"),
    ],
)
def test_averaged_weights_are_preferred_and_reported(
    content: object, key: str, tmp_path: Path
) -> None:
    found = read_checkpoint(stored(tmp_path / "last.pth", content))

    assert_equal(found.weights, AVERAGED)
    assert found.notes[0] == f"weights are those of '{key}' in last.pth"


class Model(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.backbone(inputs)


def test_mmengine_has_the_averaged_weights_in_its_state_dict(tmp_path: Path) -> None:
    """Its hook swaps the two when it stores a checkpoint."""
    model = Model()
    hook = EMAHook()
    hook.src_model, hook.ema_model = model, ExponentialMovingAverage(model)
    averaged = {name: weight.clone() for name, weight in model.state_dict().items()}
    nn.init.zeros_(model.backbone.weight)
    checkpoint = {"meta": {"mmengine_version": "0.10.4"}, "state_dict": model.state_dict()}
    hook.before_save_checkpoint(None, checkpoint)

    found = read_checkpoint(stored(tmp_path / "epoch_1.pth", checkpoint))

    assert_equal(found.weights, averaged)
    assert found.notes == (
        "epoch_1.pth holds the EMA of the weights as its state_dict, which is used",
    )


def test_buffers_of_mmcvs_ema_hook_are_left_out(tmp_path: Path) -> None:
    content = {"state_dict": WEIGHTS | {"ema_backbone_conv1_weight": torch.zeros(2, 3)}}

    found = read_checkpoint(stored(tmp_path / "yolox.pth", content))

    assert_equal(found.weights, WEIGHTS)
    assert found.notes == ("left out of yolox.pth: 1 tensors: ema_backbone_conv1_weight",)


def test_names_of_early_mmdet_2_become_those_of_mmdet_3(tmp_path: Path) -> None:
    old = {f"bbox_head.fcos_{part}.bias": torch.ones(1) for part in ("cls", "reg", "centerness")}

    found = read_weights(stored(tmp_path / "fcos.pth", {"state_dict": old}))

    assert list(found) == [f"bbox_head.conv_{part}.bias" for part in ("cls", "reg", "centerness")]


@pytest.mark.parametrize(
    ("meta", "names"),
    [
        ({"dataset_meta": {"classes": ("cat", "dog")}}, ("cat", "dog")),
        ({"dataset_meta": {"CLASSES": ["cat"]}}, ("cat",)),
        ({"CLASSES": ("cat", "dog")}, ("cat", "dog")),
        ({}, None),
    ],
)
def test_names_of_classes_are_read(
    meta: dict[str, Any], names: tuple[str, ...] | None, tmp_path: Path
) -> None:
    path = stored(tmp_path / "model.pth", {"meta": meta, "state_dict": WEIGHTS})

    assert read_checkpoint(path).class_names == names


def test_config_of_the_training_is_read(tmp_path: Path) -> None:
    for key in ("cfg", "config"):
        path = stored(tmp_path / key, {"meta": {key: "model = dict()"}, "state_dict": WEIGHTS})
        assert read_checkpoint(path).config_text == "model = dict()"


def test_format_is_found_by_content_and_not_by_name(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").write_bytes(saved(WEIGHTS))

    assert_equal(read_weights(tmp_path / "pytorch_model.bin"), WEIGHTS)
    assert_equal(read_weights(tmp_path / "model.safetensors"), WEIGHTS)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "old.pth"])
def test_shapes_alone_can_be_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.safetensors":
        save_file(WEIGHTS, path)
    else:
        stored(path, WEIGHTS, _use_new_zipfile_serialization=name == "a.pth")

    found = read_checkpoint(path, shapes_only=True).weights

    assert {name: (tuple(weight.shape), weight.device.type) for name, weight in found.items()} == {
        "backbone.conv1.weight": ((2, 3), "meta"),
        "neck.bias": ((4,), "meta"),
    }


def test_checkpoint_of_mmengines_runner_is_read_without_its_logs(tmp_path: Path) -> None:
    hub = MessageHub("test")
    hub.update_scalar("train/loss", 1.5)
    content = {"state_dict": WEIGHTS, "meta": {"epoch": 1}, "message_hub": hub.state_dict()}

    assert_equal(read_weights(stored(tmp_path / "epoch_1.pth", content)), WEIGHTS)


class Writes:
    """Would write a file when it is unpickled by plain pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "code was run")


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_checkpoint_is_not_run(is_zip: bool, tmp_path: Path) -> None:
    content = {"state_dict": WEIGHTS, "meta": Writes(tmp_path / "x")}
    path = stored(tmp_path / "model.pth", content, _use_new_zipfile_serialization=is_zip)

    with pytest.raises(CheckpointError, match=r"model.pth cannot be read") as refused:
        read_weights(path)
    assert not (tmp_path / "x").exists()
    assert "weights_only" not in str(refused.value)


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name in names:
            written.writestr(name, "x")
    return file.getvalue()


def saved(content: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty (0 bytes)"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title>", "it is an HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "it is a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0", "it is an HDF5 file, as Keras writes"),
        (b"\x1c\0\0\0TFL3\0\0", "it is a TensorFlow Lite model"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:", "it is an ONNX model"),
        (b"\x1f\x8b\x08\0", "it is compressed; unpack it first"),
        (b"\x93NUMPY\x01\0", "it is a NumPy array"),
        (b'{"a": 1}', "it is a JSON text"),
        (b"what is this", "it is in no format of PyTorch checkpoints"),
        (archive("archive/data.pkl", "archive/constants.pkl"), "it is a TorchScript program"),
        (archive("config.json", "model.weights.h5"), "it is a Keras model"),
        (archive("arr_0.npy"), "it is a NumPy archive"),
        (archive("readme.txt"), "it is a zip archive without PyTorch weights"),
        (saved(WEIGHTS)[:-300], "it is a truncated zip archive of"),
        (saved(WEIGHTS, _use_new_zipfile_serialization=False)[:-9], "it is damaged or incomplete"),
        ((999).to_bytes(8, "little") + b'{"a":', "it is a truncated safetensors file"),
        (saved([1, 2]), "it has no state_dict"),
        (saved({"epoch": 3, "loss": 0.5}), "it has no state_dict, which maps names to tensors"),
        (
            saved(nn.Linear(2, 2)),
            "it holds a pickled Python object (torch.nn.modules.linear.Linear)",
        ),
        (
            saved({"model": nn.Linear(2, 2), "epoch": 1}, _use_new_zipfile_serialization=False),
            "it holds a pickled Python object (torch.nn.modules.linear.Linear)",
        ),
        (
            saved({"meta": {"mmdet_version": "1.2.0"}, "state_dict": WEIGHTS}),
            "it is of mmdet 1.2.0, which counted the background as class 0",
        ),
    ],
    # The content has the time of its writing, and workers must agree on the names of tests.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_of_unreadable_file_has_a_sentence_of_its_own(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)

    with pytest.raises(CheckpointError) as refused:
        read_weights(path)

    message = str(refused.value)
    assert message.startswith(f"{path} cannot be read: {reason}")
    assert "weights_only" not in message
    assert len(message) < 400


def test_an_ultralytics_checkpoint_is_named_as_such(tmp_path: Path) -> None:
    """Its pickle names the class of the model."""
    pickled = b"\x80\x02cultralytics.nn.tasks\nDetectionModel\n)\x81."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("best/data.pkl", pickled)
        written.writestr("best/version", "3")
    (tmp_path / "best.pt").write_bytes(file.getvalue())

    with pytest.raises(CheckpointError, match="it is an Ultralytics checkpoint"):
        read_weights(tmp_path / "best.pt")


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it is a folder; name the checkpoint file in it"):
        read_weights(tmp_path)
    with pytest.raises(CheckpointError, match=r"none.pth cannot be read: there is no such file"):
        read_weights(tmp_path / "none.pth")


def test_three_differing_weights_and_the_number_of_the_others_are_named() -> None:
    expected = {f"a.{i}": torch.ones(1) for i in range(5)} | {"c": torch.ones(2)}
    found = {"b": torch.ones(1), "c": torch.ones(3)}

    assert differences(expected, found) == (
        "5 missing: a.0, a.1, a.2 and 2 more; 1 left over: b; "
        "1 of another shape: c (3,) instead of (2,)"
    )
    assert differences(expected, expected) == ""
