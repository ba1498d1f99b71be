"""The program beside an exported file, and what a model card says of its use."""

from pathlib import Path

from detection.deployment import predict_program

USAGE = """\
```
pip install {packages}
python predict.py IMAGE OUTPUT
```"""
"""How a file with a `predict.py` is used."""


def write_program(model: Path) -> Path:
    """Write the program that runs an exported file, a model of ONNX, OpenVINO or TorchScript,
    beside it."""
    text = Path(predict_program.__file__).read_text(encoding="utf-8")
    program = model.with_name("predict.py")
    program.write_text(text.replace(predict_program.MODEL, model.name), encoding="utf-8")
    return program
