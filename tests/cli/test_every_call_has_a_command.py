"""Every call of the API has a command, and every list the same options."""

from typing import Any

import pytest
import typer

from api.app import create_app
from cli.main import app
from searchd.store import Database

LIFECYCLE = ("pause", "resume", "cancel", "kill")
COMMANDS = {
    "GET /healthz": "doctor",
    "GET /metrics": "doctor",
    "GET /readyz": "doctor",
    "POST /datasets": "dataset add",
    "GET /datasets": "dataset list",
    "GET /datasets/{dataset}": "dataset show",
    "PATCH /datasets/{dataset}": "dataset rename",
    "DELETE /datasets/{dataset}": "dataset delete",
    "POST /datasets/{dataset}/recheck": "dataset recheck",
    "GET /datasets/{dataset}/statistics": "dataset stats",
    "GET /datasets/{dataset}/samples": "dataset samples",
    "GET /datasets/{dataset}/samples/{number}/image": "dataset samples",
    "GET /datasets/{dataset}/events": "dataset watch",
    "POST /pools": "pool create",
    "POST /pools/forecast": "pool forecast",
    "GET /pools": "pool list",
    "GET /pools/{pool}": "pool show",
    "GET /pools/{pool}/supernet": "pool export",
    "GET /pools/{pool}/events": "pool watch",
    "DELETE /pools/{reference}": "pool delete",
    "POST /teachers": "teacher add",
    "GET /teachers": "teacher list",
    "GET /teachers/{teacher}": "teacher show",
    "GET /teachers/{teacher}/events": "teacher watch",
    "DELETE /teachers/{reference}": "teacher delete",
    "POST /searches": "search submit",
    "POST /searches/forecast": "search forecast",
    "GET /searches": "search list",
    "GET /searches/{search}": "search show",
    "POST /searches/{search}/extend": "search extend",
    "POST /searches/{search}/finish": "search finish",
    "GET /searches/{search}/trials": "search trials",
    "GET /searches/{search}/lineage": "search lineage",
    "GET /searches/{search}/pareto": "search pareto",
    "GET /searches/{search}/pareto/dominated": "search trials",
    "GET /searches/{search}/columns": "search trials",
    "GET /searches/{search}/trials/{trial}/log": "search log",
    "GET /searches/{search}/report": "search report",
    "GET /searches/{search}/events": "search watch",
    "DELETE /searches/{reference}": "search delete",
    "POST /distillations": "distillation submit",
    "POST /distillations/forecast": "distillation forecast",
    "GET /distillations": "distillation list",
    "GET /distillations/{distillation}": "distillation show",
    "POST /distillations/{distillation}/extend": "distillation extend",
    "GET /distillations/{distillation}/trials": "distillation trials",
    "GET /distillations/{distillation}/trials/{trial}/log": "distillation log",
    "GET /distillations/{distillation}/lineage": "distillation lineage",
    "GET /distillations/{distillation}/pareto": "distillation pareto",
    "GET /distillations/{distillation}/events": "distillation watch",
    "DELETE /distillations/{reference}": "distillation delete",
    "GET /trials/{trial_id}": "search trial",
    "GET /detectors/{trial_id}": "detector show",
    "GET /detectors/{trial_id}/artifacts/{name}": "detector download",
    "GET /detectors/{trial_id}/predictions": "detector download",
    "POST /detectors/{trial_id}/pin": "search pin",
    "POST /detectors/{trial_id}/unpin": "search unpin",
    "POST /detectors/{trial_id}/exports": "detector export",
    "GET /detectors/{trial_id}/exports": "detector exports",
    "GET /detectors/{trial_id}/exports/{export}": "detector show-export",
    "GET /detectors/{trial_id}/exports/{export}/files/{name}": "detector export",
    "GET /exports/{export}": "detector exports",
    "DELETE /exports/{export}": "detector exports",
    "POST /devices": "device add",
    "GET /devices": "device list",
    "GET /devices/{device}": "device show",
    "DELETE /devices/{device}": "device delete",
    "POST /webhooks": "webhook add",
    "GET /webhooks": "webhook list",
    "GET /webhooks/{webhook}/deliveries": "webhook deliveries",
    "POST /webhooks/{webhook}/test": "webhook test",
    "DELETE /webhooks/{webhook}": "webhook delete",
    **{
        f"POST /{folder}/{{reference}}/{request}": f"{noun} {request}"
        for folder, noun in (
            ("pools", "pool"),
            ("teachers", "teacher"),
            ("searches", "search"),
            ("distillations", "distillation"),
        )
        for request in LIFECYCLE
    },
    **{
        f"POST /{folder}/{{reference}}/{request}": f"{noun} {request}"
        for folder, noun in (
            ("datasets", "dataset"),
            ("devices", "device"),
            ("pools", "pool"),
            ("teachers", "teacher"),
            ("searches", "search"),
            ("distillations", "distillation"),
        )
        for request in ("archive", "unarchive")
    },
}
"""The command of each call."""
LISTS = {
    *("dataset list", "pool list", "teacher list", "search list", "distillation list"),
    *("search trials", "distillation trials", "detector exports", "device list", "token list"),
    *("search pareto", "distillation pareto", "webhook list", "webhook deliveries"),
}


@pytest.mark.timeout(60)  # the document is built from every schema
def test_every_call_of_the_api_has_a_command_in_the_table() -> None:
    paths = create_app(Database("sqlite://")).openapi()["paths"]
    calls = {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, operations in paths.items()
        for method in operations
    }

    assert len(calls) > 60
    assert calls == COMMANDS.keys()


def test_every_command_of_the_table_exists() -> None:
    assert [each for each in COMMANDS.values() if command(each) is None] == []


def test_every_list_has_the_same_options() -> None:
    options = {name: {each.name for each in command(name).params} for name in LISTS}

    assert {name for name, found in options.items() if not found >= LIST_OPTIONS} == set()


LIST_OPTIONS = {"filters", "sort", "limit", "output"}


def command(path: str) -> Any:
    """The command of a path such as "search list"; None if there is none."""
    found: Any = typer.main.get_command(app)
    for name in path.split():
        found = getattr(found, "loaded", found).commands.get(name)
        if found is None:
            return None
    return getattr(found, "loaded", found)
