"""Completion for the usual shells: a script, and what it asks for."""

import pytest
from typer.testing import CliRunner

from cli.main import app


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_each_shell(
    shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")

    result = CliRunner().invoke(app, ["--show-completion", shell], prog_name="searchd")

    assert result.exit_code == 0, result.output
    assert "_SEARCHD_COMPLETE" in result.stdout
    assert f"complete_{shell}" in result.stdout


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
