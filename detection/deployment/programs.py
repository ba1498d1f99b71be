"""The program beside an exported file, and what a model card says of its use."""

from pathlib import Path
from shutil import copyfile

from detection.deployment import onnx_predict, predict_program

USAGE = """\
```
pip install {packages}
python predict.py IMAGE OUTPUT
```"""
"""How a file with a `predict.py` is used."""


def copied_program(folder: Path, *, onnx_only: bool = False) -> Path:
    """Write the program that runs an exported detector into a folder; for ONNX files there is a
    shorter one."""
    program = folder / "predict.py"
    copyfile(onnx_predict.__file__ if onnx_only else predict_program.__file__, program)
    return program
