"""The API by its own description, with made-up requests: no 5xx, and every answer as described.

SEARCHD_FUZZ_EXAMPLES sets the requests for each operation; `make fuzz` runs thousands.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi_checks

from api.app import create_app
from api.auth import Rules
from searchd import artifacts
from searchd.domain.lifecycle import SearchStatus
from searchd.spec import ExportSpec
from searchd.spec.webhooks import WebhookSpec
from searchd.store import Database, Role, upgrade, webhooks
from searchd.store.resources import devices, exports, teachers, tokens
from searchd.store.work import queue
from tests.searchd.store.device_factory import device_spec
from tests.searchd.store.factories import (
    add_distillation,
    base_proposal,
    export_report,
    leased,
    run_trial,
    start_search,
    succeeded,
    teacher_report,
    teacher_spec,
)

DEFAULT_EXAMPLES = 3
EXAMPLES = int(os.environ.get("SEARCHD_FUZZ_EXAMPLES", DEFAULT_EXAMPLES))
_OWNERS = {
    "datasets": "dataset",
    "devices": "device",
    "pools": "pool",
    "teachers": "teacher",
    "searches": "search",
    "distillations": "distillation",
}
"""Whose name the parameter "reference" of a path is."""
CHECKS: list[Any] = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.unsupported_method,
    openapi_checks.ignored_auth,
]


@dataclass(frozen=True)
class Described:
    """The description of an API, with what it takes to call it."""

    schema: Any
    headers: dict[str, str]
    known: dict[str, Any]
    """Path parameters, and fields of specs, that name what exists."""
    folder: str
    """A folder that data sets may use."""

    def fuzz(self, *, streams: bool) -> Counter[int]:
        """Make up requests for every operation; how often each status was answered."""
        answers: Counter[int] = Counter()
        for found in self.schema.get_all_operations():
            operation = found.ok()
            if operation.path.endswith("/events") is not streams:
                continue
            names = self._names(operation.path)
            self._fuzz(operation.as_strategy(GenerationMode.POSITIVE), answers)
            if operation.tags != ["health"]:  # which take nothing that could be wrong
                self._fuzz(operation.as_strategy(GenerationMode.NEGATIVE), answers)
            existing = operation.as_strategy(GenerationMode.POSITIVE, path_parameters=names)
            existing = existing.map(self._of_what_exists)
            if any(each.name == "validate_only" for each in operation.query):
                self._fuzz(existing.map(_validated), answers)
            self._fuzz(existing, answers)
        return answers

    def _names(self, path: str) -> dict[str, Any]:
        """What exists, for the parameters of a path."""
        owner = next((name for plural, name in _OWNERS.items() if f"/{plural}/" in path), "")
        known = self.known | {"reference": self.known.get(owner, "")}
        return {name: known[name] for name in re.findall(r"{(\w+)}", path)}

    def _of_what_exists(self, case: Any) -> Any:
        if isinstance(case.body, dict):
            if case.body.keys() == {"name"}:  # a renamed data set would not be found again
                case.body["name"] = self.known["dataset"]
            names = case.body.keys() & {"dataset", "pool"}
            case.body |= {name: self.known[name] for name in names}
            if isinstance(case.body.get("trial"), str):
                case.body["trial"] = self.known["trial_id"]
            if isinstance(case.body.get("mmdet"), dict):
                case.body["mmdet"]["checkpoint"] = self.folder
            case.body.pop("pretrained", None)  # of a pool: no such file exists
            if "base" in case.body:
                case.body["base"] = {}
            for split in (case.body.get("train"), case.body.get("validation")):
                if isinstance(split, dict):
                    split |= {"annotations": self.folder, "images": self.folder}
        return case

    def _fuzz(self, requests: st.SearchStrategy[Any], answers: Counter[int]) -> None:
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=EXAMPLES == DEFAULT_EXAMPLES,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(requests)
        def is_as_described(case: Any) -> None:
            response = case.call_and_validate(checks=CHECKS, headers=self.headers)
            answers[response.status_code] += 1

        is_as_described()


def _validated(case: Any) -> Any:
    """The same request, which creates nothing."""
    case.query = {"validate_only": "true"}
    return case


@pytest.fixture
def described(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Described]:
    """The description of an API that holds one thing of each kind, which have ended."""
    for chatty in ("httpx", "searchd", "alembic"):
        caplog.set_level(logging.WARNING, logger=chatty)
    url = f"sqlite:///{tmp_path / 'searchd.sqlite'}"
    upgrade(url)
    database = Database(url)
    trial_id = _end_a_search(database, tmp_path)
    _evaluate_a_teacher(database)
    _cancel_a_distillation(database)
    export_id = _export_the_detector(database, trial_id, tmp_path)
    with database.write() as session:
        secret = tokens.create(session, "fuzz", Role.ADMIN)
        devices.create(session, device_spec("laptop"))
        webhook_id = webhooks.create(session, WebhookSpec(url="https://192.0.2.1")).id
    headers = {"Authorization": f"Bearer {secret}"}
    rules = Rules(tokens_needed=True, data_roots=(tmp_path,), requests_per_minute=10**9)
    app = create_app(database, rules)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=headers)
    known = {
        "dataset": "shapes",
        "pool": "teachers",
        "teacher": "swin",
        "search": "first",
        "distillation": "mtpd",
        "trial": "base",
        "webhook": webhook_id,
        "device": "laptop",
        "trial_id": trial_id,
        "export": export_id,
        "name": "student",
        "number": 0,
    }
    yield Described(schema, headers, known, str(tmp_path))
    database.close()


def _end_a_search(database: Database, folder: Path) -> str:
    search, lease = start_search(database)
    student = artifacts.write(str(folder / "student"), b"weights", name="student")
    run_trial(database, lease, base_proposal(), replace(succeeded("base"), artifacts=(student,)))
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
    return f"{search.id}-base"


def _export_the_detector(database: Database, trial_id: str, folder: Path) -> str:
    with database.write() as session:
        export_id = exports.create(session, trial_id, ExportSpec()).id
    file = artifacts.write(str(folder / "model.onnx"), b"graph", name="student")
    with leased(database, f"export-{export_id}") as (session, lease):
        exports.record_report(session, lease, export_report(file))
    return export_id


def _evaluate_a_teacher(database: Database) -> None:
    with database.write() as session:
        teacher = teachers.create(session, teacher_spec())
    with leased(database, f"teacher-{teacher.id}") as (session, lease):
        teachers.record_report(session, lease, teacher_report())


def _cancel_a_distillation(database: Database) -> None:
    distillation = add_distillation(database)
    with leased(database, f"distillation-{distillation.id}") as (session, lease):
        queue.finish(session, lease, SearchStatus.CANCELLED, "never mind")


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_every_answer_is_as_described(described: Described) -> None:
    answers = described.fuzz(streams=False)
    assert answers.keys() >= {200, 201, 202, 404, 409, 422}
    logging.getLogger(__name__).info("%d requests: %s", answers.total(), dict(answers))


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_every_stream_is_as_described(described: Described) -> None:
    # Apart from what creates things: a stream about something that has not ended does not end.
    answers = described.fuzz(streams=True)
    assert answers.keys() >= {200, 404, 422}
    logging.getLogger(__name__).info("%d requests: %s", answers.total(), dict(answers))
