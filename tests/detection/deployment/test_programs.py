"""The program beside an exported file is for its runtime alone, and short."""

import ast
from pathlib import Path

import pytest

from detection.deployment.programs import write_program


@pytest.mark.parametrize(
    ("model", "runtime", "others"),
    [
        ("model.onnx", "onnxruntime", ("openvino", "torch")),
        ("model.xml", "openvino", ("onnxruntime", "torch")),
        ("model.pt", "torch", ("onnxruntime", "openvino")),
    ],
)
def test_the_program_imports_the_runtime_of_its_file_alone(
    tmp_path: Path, model: str, runtime: str, others: tuple[str, str]
) -> None:
    text = write_program(tmp_path / model).read_text()

    imported = {
        name.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert imported == {"json", "sys", "cv2", "numpy", runtime}
    assert f'MODEL = "{model}"' in text
    assert f"= with_{runtime}(Path(__file__)" in text
    assert [each for each in others if each in text] == []


def test_the_program_of_an_onnx_file_has_at_most_fifty_lines_of_code(tmp_path: Path) -> None:
    lines = write_program(tmp_path / "model.onnx").read_text().splitlines()

    assert len([line for line in lines if line.strip()]) <= 50
