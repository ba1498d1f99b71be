"""The program beside an exported file, and what a model card says of its use."""

from pathlib import Path
from shutil import copyfile
from types import ModuleType

USAGE = """\
```
pip install {packages}
python predict.py IMAGE OUTPUT
```"""
"""How a file with a `predict.py` is used."""


def copied_program(module: ModuleType, folder: Path) -> Path:
    """Write the program in a module, which runs an exported detector, into a folder."""
    assert module.__file__ is not None  # it is a file
    program = folder / "predict.py"
    copyfile(module.__file__, program)
    return program
