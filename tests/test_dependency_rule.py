"""The import contracts of pyproject.toml hold in every folder: a forbidden import is found in each.

A contract that listed single files would let a new file import anything.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "searchd.domain": ["numpy", "searchd.search"],
    "searchd.search": ["pydantic", "searchd.spec", "searchd.artifacts"],
    "searchd.spec": ["sqlalchemy", "searchd.messages"],
    "searchd.messages": ["sqlalchemy", "searchd.store"],
    "searchd.store": ["torch", "ray", "searchd.driver"],
    "searchd.driver": ["torch", "searchd.coordinator"],
    "searchd.coordinator": ["torch", "ray", "searchd.driver"],
    "searchd": ["torch", "mmdet", "fastapi", "detection"],
    "detection": ["ray", "elastic_pool", "searchd.store", "searchd.search"],
    "elastic_pool": ["mmdet", "workers", "searchd.settings"],
    "workers": ["mmcv", "sqlalchemy", "api", "searchd.driver"],
    "api": ["torch", "ray", "workers", "searchd.coordinator"],
    "cli": ["mmengine"],
}
"""What the files of a folder, and of the folders in it, may not import."""


def folders() -> list[str]:
    """Every package of the source, as a dotted name."""
    tops = {name.partition(".")[0] for name in FORBIDDEN}
    files = [file for top in sorted(tops) for file in (ROOT / top).rglob("__init__.py")]
    return [".".join(file.parent.relative_to(ROOT).parts) for file in files]


def forbidden_in(folder: str) -> list[str]:
    """The rule of the nearest folder above that has one."""
    while folder not in FORBIDDEN:
        folder = folder.rpartition(".")[0]
    return FORBIDDEN[folder]


def copy_sources(to: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", to)
    for top in {name.partition(".")[0] for name in FORBIDDEN}:
        shutil.copytree(ROOT / top, to / top, ignore=shutil.ignore_patterns("__pycache__"))


def lint(folder: Path) -> str:
    """What the check prints of a copy of the sources, which it must refuse."""
    linted = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 1, linted.stdout + linted.stderr
    return linted.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The check of a copy with each forbidden import in a new file of each folder."""
    copy = tmp_path_factory.mktemp("copy")
    copy_sources(copy)
    for folder in folders():
        for number, module in enumerate(forbidden_in(folder)):
            file = copy / Path(*folder.split(".")) / f"new_file_{number}.py"
            file.write_text(f"import {module}\n")
    return lint(copy)


def test_every_folder_has_a_rule() -> None:
    assert len(folders()) > 25
    assert {folder for folder in folders() if not forbidden_in(folder)} == set()


@pytest.mark.parametrize("folder", folders())
def test_a_forbidden_import_in_a_new_file_is_found(report: str, folder: str) -> None:
    for number, module in enumerate(forbidden_in(folder)):
        assert f"{folder}.new_file_{number} -> {module} (l.1)" in report


def test_a_new_module_of_searchd_that_no_layer_names_is_found(tmp_path: Path) -> None:
    copy_sources(tmp_path)
    (tmp_path / "searchd" / "helpers.py").write_text('"""No layer names this module."""\n')
    assert "searchd.helpers" in lint(tmp_path)
