"""The program beside an exported file, and what a model card says of its use."""

from pathlib import Path

from detection.deployment import predict_program

USAGE = """\
```
pip install {packages}
python predict.py IMAGE OUTPUT
```"""
"""How a file with a `predict.py` is used."""


_OPENED_WITH = {".onnx": "with_onnxruntime", ".xml": "with_openvino", ".pt": "with_torch"}
"""The function of the program that opens a file, by its suffix."""


def write_program(model: Path) -> Path:
    """Write the program that runs an exported file, a model of ONNX, OpenVINO or TorchScript,
    beside it, without what is for the other two."""
    text = Path(predict_program.__file__).read_text(encoding="utf-8")
    needed = _OPENED_WITH[model.suffix]
    others = tuple(f"def {name}(" for name in _OPENED_WITH.values() if name != needed)
    parts = [part for part in text.split("\n\n\n") if not part.startswith(others)]
    text = "\n\n\n".join(parts).replace(" with_onnxruntime(Path", f" {needed}(Path")
    program = model.with_name("predict.py")
    program.write_text(text.replace(predict_program.MODEL, model.name), encoding="utf-8")
    return program
