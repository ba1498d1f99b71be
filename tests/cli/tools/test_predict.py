"""`searchd detector predict` on files: a detector of two classes that finds a fixed box."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.cli.conftest import Run


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder with a graph that finds a cat at (8, 4, 24, 20) with 0.75 and a dog with 0.25, in
    pixels of an input of 32 x 32."""
    folder = tmp_path / "export"
    folder.mkdir()
    values: dict[str, Any] = {
        "boxes": np.array([[[8, 4, 24, 20], [0, 0, 8, 8]]], dtype=np.float32),
        "scores": np.array([[0.75, 0.25]], dtype=np.float32),
        "labels": np.array([[0, 1]], dtype=np.int64),
    }
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])
    outputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape)
        )
        for name, value in values.items()
    ]
    nodes = [
        helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
        for name, value in values.items()
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "fixed", [images], outputs),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    facts = {
        "class_names": ["cat", "dog"],
        "resolution": [32, 32],
        "fixed": True,
        "fill": [124.0, 116.0, 104.0],
    }
    helper.set_model_props(model, {name: json.dumps(value) for name, value in facts.items()})
    onnx.save(model, folder / "model.onnx")
    return folder


def picture(path: Path, width: int = 64, height: int = 64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)
    return path


def test_images_are_drawn_and_results_are_in_pixels_of_the_image(
    offline: Run, export: Path, tmp_path: Path
) -> None:
    one = picture(tmp_path / "one.png")
    picture(tmp_path / "folder" / "sub" / "two.JPG", 128, 128)

    result = offline(
        "detector", "predict", export, one, tmp_path / "folder", "--out", tmp_path / "o"
    )

    assert result.exit_code == 0, result.stderr
    found = json.loads((tmp_path / "o" / "detections.json").read_text())
    two = tmp_path / "folder" / "sub" / "two.JPG"
    cat = {"category_id": 1, "category": "cat", "score": 0.75}
    assert found == [
        {"image_id": 1, "file_name": str(one), "bbox": [16.0, 8.0, 32.0, 32.0], **cat},
        {"image_id": 2, "file_name": str(two), "bbox": [32.0, 16.0, 64.0, 64.0], **cat},
    ]
    assert np.asarray(Image.open(tmp_path / "o" / "one.png")).any()
    assert np.asarray(Image.open(tmp_path / "o" / "sub" / "two.JPG")).any()
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["DETECTIONS", "1", "1"]


def test_a_lower_score_shows_more(offline: Run, export: Path, tmp_path: Path) -> None:
    one = picture(tmp_path / "one.png")

    arguments = (export / "model.onnx", one, "--out", tmp_path / "o", "--score", "0.2")
    offline("detector", "predict", *arguments)

    found = json.loads((tmp_path / "o" / "detections.json").read_text())
    assert [each["category"] for each in found] == ["cat", "dog"]


def test_paths_that_cannot_be_used_are_named(offline: Run, export: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    (tmp_path / "empty").mkdir()

    def refused(*arguments: object) -> tuple[int, str]:
        result = offline("detector", "predict", *arguments, "--out", tmp_path / "o")
        return result.exit_code, result.stderr

    code, reason = refused(export, tmp_path / "nowhere.png")
    assert (code, f"{tmp_path / 'nowhere.png'} does not exist" in reason) == (2, True)
    code, reason = refused(export, tmp_path / "empty")
    assert (code, f"{tmp_path / 'empty'} has no images" in reason) == (2, True)
    code, reason = refused(tmp_path / "empty", picture(tmp_path / "one.png"))
    assert (code, "has no model.onnx; give a folder that" in reason) == (2, True)
    code, reason = refused(export, picture(tmp_path / "o" / "two.png"))
    assert (code, f"would overwrite {tmp_path / 'o' / 'two.png'}" in reason) == (2, True)
    code, reason = refused(export, picture(tmp_path / "a" / "x.png"), picture(tmp_path / "x.png"))
    assert (code, "are both drawn as x.png" in reason) == (2, True)
    code, reason = refused(export, text)
    assert (code, f"{text} cannot be read as an image" in reason) == (1, True)
