"""Exported files of a detector that finds the same boxes on every image, ready to run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

SIDE = 32
"""Width and height of its input in pixels."""


def write_graph(
    folder: Path, names: tuple[str, ...] = ("cat", "dog"), *, masks: bool = False, **changes: Any
) -> Path:
    """Write `model.onnx`: a detector that finds the first class at (8, 4, 24, 20) with a score of
    0.75 and the second at (0, 0, 8, 8) with 0.25, in pixels of an input of 32 x 32. With masks, the
    objects are the left halves of their boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "boxes": np.array([[[8, 4, 24, 20], [0, 0, 8, 8]]], dtype=np.float32),
        "scores": np.array([[0.75, 0.25]], dtype=np.float32),
        "labels": np.array([[0, 1]], dtype=np.int64),
    }
    if masks:
        values["masks"] = np.zeros((1, 2, 28, 28), dtype=np.float32)
        values["masks"][..., :14] = 1
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
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
        "class_names": list(names),
        "resolution": [SIDE, SIDE],
        "fixed": True,
        "fill": [124.0, 116.0, 104.0],
    }
    stored = {name: json.dumps(value) for name, value in (facts | changes).items()}
    helper.set_model_props(model, stored)
    onnx.save(model, folder / "model.onnx")
    return folder


def card(
    names: tuple[str, ...] = ("cat", "dog"), file: str = "model.onnx", **changes: Any
) -> dict[str, Any]:
    """The card of the graph, as far as commands read it."""
    export = {"format": "onnx", "precision": "fp32", "input": "32x32", "resolution": "32x32"}
    aps = {"validation": {"ap": 0.5}, "test": {"ap": 0.4}}
    measured = {"split": "test", "resolution": "96x96", "ap": 0.45}
    return {
        "classes": list(names),
        "file": file,
        "export": {**export, **changes},
        "export aps": aps,
        "measurements": [measured],
    }
