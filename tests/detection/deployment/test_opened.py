"""Exports are opened by their cards, or by what an ONNX file tells of itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detection.deployment import opened
from detection.deployment.opened import Seen, open_export
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from tests.fixed_graphs import card, write_graph

SQUARE = Resolution(32, 32)


def written(folder: Path, described: dict[str, Any]) -> Path:
    write_graph(folder)
    (folder / "card.json").write_text(json.dumps(described))
    return folder


def test_a_folder_is_opened_by_its_card(tmp_path: Path) -> None:
    found = open_export(written(tmp_path, card(("lion", "wolf"))))

    assert found.model == tmp_path / "model.onnx"
    assert found.request.class_names == ("lion", "wolf")
    assert (found.request.size, found.request.resolution) == (SQUARE, SQUARE)
    assert found.runner.software.startswith("onnxruntime ")


def test_a_dynamic_input_has_no_size(tmp_path: Path) -> None:
    described = card(input="dynamic", resolution="320x240")

    found = open_export(written(tmp_path, described) / "model.onnx")

    assert (found.request.size, found.request.resolution) == (None, Resolution(320, 240))


@pytest.mark.parametrize("file", [".", "model.onnx"])
def test_an_onnx_file_needs_no_card(tmp_path: Path, file: str) -> None:
    found = open_export(write_graph(tmp_path) / file)

    assert (found.request.class_names, found.request.size) == (("cat", "dog"), SQUARE)


def test_the_card_of_an_earlier_version_is_not_needed(tmp_path: Path) -> None:
    described = card()
    del described["file"], described["export"]["resolution"]

    assert open_export(written(tmp_path, described)).request.class_names == ("cat", "dog")


def test_boxes_are_in_pixels_of_the_image(tmp_path: Path) -> None:
    found = open_export(write_graph(tmp_path))

    seen = found.detect(np.zeros((128, 64, 3), dtype=np.uint8), 0.5)

    assert seen == [Seen(label=0, score=0.75, box=(32.0, 16.0, 96.0, 80.0))]


@pytest.mark.parametrize(
    ("described", "text"),
    [
        (card(format="tflite"), "as tflite in fp32, which this version of searchd does not know"),
        (card(file="other.onnx"), "has no other.onnx; give a folder that"),
        ({"export": 1}, "is not the card of an export"),
    ],
    ids=["format", "file", "card"],
)
def test_what_cannot_be_opened_is_named(
    tmp_path: Path, described: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidValueError, match=text):
        open_export(written(tmp_path, described))


def test_a_file_that_is_no_export_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("nothing")
    (tmp_path / "model.xml").write_text("nothing")

    with pytest.raises(InvalidValueError, match=r"model\.onnx is no ONNX file that onnxruntime"):
        open_export(tmp_path)
    with pytest.raises(InvalidValueError, match=r"model\.xml needs the card\.json"):
        open_export(tmp_path / "model.xml")


def test_an_onnx_file_of_another_program_is_named(tmp_path: Path) -> None:
    write_graph(tmp_path, fixed=True)
    (tmp_path / "model.onnx").write_bytes(
        (tmp_path / "model.onnx").read_bytes().replace(b"class_names", b"other_names")
    )

    with pytest.raises(InvalidValueError, match="does not name its classes"):
        open_export(tmp_path)


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: str) -> None:
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

    monkeypatch.setattr(opened, "import_module", missing)

    with pytest.raises(InvalidValueError, match="install it: pip install 'searchd\\[export\\]'"):
        open_export(write_graph(tmp_path))
