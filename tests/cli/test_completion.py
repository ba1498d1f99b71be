"""Completion for the usual shells: a script, and what it asks for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(app, ["completion", shell], prog_name="searchd")

    assert result.exit_code == 0, result.output
    assert "_SEARCHD_COMPLETE" in result.stdout
    assert f"complete_{shell}" in result.stdout


def test_an_unknown_shell_is_refused_with_those_that_there_are() -> None:
    result = CliRunner().invoke(app, ["completion", "tcsh"], prog_name="searchd")

    assert result.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in result.stderr


def test_the_script_makes_a_real_bash_complete(tmp_path: Path) -> None:
    program = tmp_path / "searchd"
    program.write_text(f"#!{sys.executable}\nfrom cli.main import main\nmain()\n")
    program.chmod(0o755)
    asked = (
        "source <(searchd completion bash); COMP_WORDS=(searchd dev); COMP_CWORD=1; "
        "_searchd_completion searchd; echo ${COMPREPLY[@]}"
    )
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    found = subprocess.run(
        ["bash", "-c", asked],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout == "device\n"


def test_commands_and_those_of_a_group_are_completed() -> None:
    def completed(words: str, position: int) -> list[str]:
        environment = {
            "_SEARCHD_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(position),
        }
        result = CliRunner().invoke(app, [], prog_name="searchd", env=environment)
        return result.stdout.split()

    assert completed("searchd se", 1) == ["search"]
    assert completed("searchd search line", 2) == ["lineage"]
