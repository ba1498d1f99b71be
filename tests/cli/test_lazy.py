"""Commands import what they need, and nothing that takes long."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import typer

from cli.lazy import LazyCommand
from cli.main import app
from searchd.store import Database
from tests.api.service import Service
from tests.searchd.store.factories import base_proposal, run_trial, start_search

SLOW = {
    *("torch", "ray", "fastapi", "sqlalchemy", "alembic", "matplotlib", "pandas", "numpy"),
    *("mmdet", "mmcv", "mmengine", "uvicorn", "asyncio", "pydantic_settings"),
}
PROGRAM = """
import contextlib, io, json, sys
from cli.main import app
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        app(arguments)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def imported_by(*commands: list[str], **environment: str) -> set[str]:
    """The packages that are imported after these commands, in a process of their own."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr == ""
    return set(json.loads(ended.stdout))


@pytest.mark.timeout(60)
def test_help_imports_neither_the_client_nor_anything_slow() -> None:
    packages = imported_by(["--help"])

    assert packages & (SLOW | {"httpx", "pydantic", "yaml"}) == set()
    assert {"typer", "cli"} <= packages
    assert imported_by(["up", "--help"]) & (SLOW | {"httpx"}) == set()


@pytest.mark.timeout(60)
def test_commands_that_call_the_service_import_nothing_slow(
    service: Service, database: Database
) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())

    packages = imported_by(
        ["search", "list"],
        ["search", "show", search.id],
        ["search", "trials", search.id, "--format", "csv"],
        ["search", "pareto", search.id],
        ["search", "pause", search.id],
        ["pool", "list", "--format", "json"],
        ["dataset", "list"],
        ["teacher", "list"],
        ["distillation", "list"],
        ["detector", "exports", f"{search.id}-base"],
        ["analyse", "search", "--help"],
        SEARCHD_URL=service.url,
    )

    assert packages & SLOW == set()
    assert {"httpx", "pydantic", "api"} <= packages


@pytest.mark.timeout(60)
def test_the_command_line_of_httpx_is_not_imported() -> None:
    listing = ["search", "list", "--format", "json", "--url", "http://127.0.0.1:9"]
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cli.main", *listing],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stderr.endswith("start one with: searchd up\n")
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert {"httpx", "httpx._client"} <= imported
    assert imported & {"pygments", "click", "rich.console"} == set()


def test_the_summary_of_a_command_is_the_first_paragraph_of_its_help() -> None:
    command: Any = typer.main.get_command(app)
    lazy = [each for each in command.commands.values() if isinstance(each, LazyCommand)]

    assert len(lazy) == len(command.commands) > 10
    helps = {each.name: each.loaded.help.partition("\n\n")[0] for each in lazy}
    assert {each.name: each.help for each in lazy} == {
        name: " ".join(text.split()) for name, text in helps.items()
    }
