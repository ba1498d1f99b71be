"""The program beside an exported file, and what a model card says of its use."""

from pathlib import Path
from shutil import copyfile

from detection.deployment import predict_program

USAGE = """\
```
pip install {packages}
python predict.py IMAGE OUTPUT
```"""
"""How a file with a `predict.py` is used."""


def copied_program(folder: Path) -> Path:
    """Write the program that runs an exported detector into a folder."""
    program = folder / "predict.py"
    copyfile(predict_program.__file__, program)
    return program
