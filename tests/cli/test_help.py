"""The help of the command line: every command, argument and option says what it is."""

from collections.abc import Iterator
from typing import Any

import typer

from cli.errors import EXIT_CODES
from cli.main import app
from tests.cli.conftest import Run
from tests.descriptions import fault


def test_every_option_and_argument_has_a_help_text() -> None:
    faults = {
        f"{path} {parameter.name}": fault(parameter.help)
        for path, command in every_command()
        for parameter in command.params
    }

    assert len(faults) > 250
    assert _wrong(faults) == {}


def test_every_command_says_in_its_first_line_what_it_does() -> None:
    faults = {path: fault(_first_line(command.help)) for path, command in every_command()}

    assert len(faults) > 60
    assert _wrong(faults) == {}


def test_every_group_of_commands_says_what_it_is_in_one_line() -> None:
    groups = {
        path: command.help for path, command in every_command() if hasattr(command, "commands")
    }

    assert {"searchd search", "searchd pool", "searchd tools", "searchd analyse"} < groups.keys()
    assert [path for path, text in groups.items() if "\n" in (text or "").strip()] == []


def test_the_exit_codes_are_in_the_help(offline: Run) -> None:
    assert EXIT_CODES == "Exit codes: 0 success, 1 failure, 2 wrong usage or an invalid spec."
    assert EXIT_CODES in " ".join(offline("--help").stdout.split())


def every_command() -> Iterator[tuple[str, Any]]:
    """Every command and every group with its full name."""
    waiting: list[tuple[str, Any]] = [("searchd", typer.main.get_command(app))]
    while waiting:
        path, command = waiting.pop()
        command = getattr(command, "loaded", command)
        yield path, command
        children = getattr(command, "commands", {})
        waiting += [(f"{path} {name}", child) for name, child in children.items()]


def _first_line(text: str | None) -> str:
    """The first paragraph, which the list of commands shows."""
    return (text or "").strip().partition("\n\n")[0]


def _wrong(faults: dict[str, str | None]) -> dict[str, str]:
    return {name: reason for name, reason in faults.items() if reason is not None}
