"""The doctor finds what is missing and names the command that mends it."""

import json
from pathlib import Path

import pytest

from cli import doctor
from tests.cli.conftest import Run


def test_doctor_says_what_is_missing_and_what_mends_it(
    offline: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no compiler there
    monkeypatch.setattr(doctor, "_MIN_FREE_GIB", 10**9)
    result = offline("doctor", "--data-folder", tmp_path / "new", "--format", "json")
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert checks["C++ compiler"] == {
        "name": "C++ compiler",
        "ok": False,
        "found": "none",
        "fix": "apt-get install g++",
    }
    assert not checks["1000000000 GiB free disk"]["ok"]
    assert checks["torch"]["ok"]
    assert checks["torch"]["fix"] == ""


def test_a_module_that_does_not_import_is_mended_by_installing() -> None:
    check = doctor._module("nothing", "there.is.no.such.module")
    assert not check.ok
    assert check.found == "ModuleNotFoundError: No module named 'there'"
    assert check.fix == "make install"
