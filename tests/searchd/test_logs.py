"""How processes log: text, or JSON with the ids of what a line is about."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from searchd import logs
from searchd.domain.lifecycle import TrialStatus
from searchd.store import Database
from searchd.store.runs import trials
from tests.searchd.store.factories import base_proposal, start_search

log = logging.getLogger("searchd.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    for handler in before[1]:  # they would be closed
        root.removeHandler(handler)
    yield
    logs.configure("text", io.StringIO())
    logs.identify()
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_text_is_a_line_with_time_level_and_logger() -> None:
    stream = io.StringIO()
    logs.configure("text", stream)
    log.info("trial %s done", 3)
    assert stream.getvalue().endswith(" INFO searchd.test: trial 3 done\n")


def test_json_has_the_ids_of_the_process_and_those_of_the_line() -> None:
    stream = io.StringIO()
    logs.configure("json", stream)
    logs.identify(work="search-s-1", search="s-1")
    log.warning("über\nzwei Zeilen", extra={"trial": "3"})
    (line,) = _lines(stream)
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "searchd.test",
        "message": "über\nzwei Zeilen",
        "work": "search-s-1",
        "search": "s-1",
        "trial": "3",
    }


def test_a_traceback_is_a_field_of_its_line() -> None:
    stream = io.StringIO()
    logs.configure("json", stream)
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("failed")
    (line,) = _lines(stream)
    assert line["message"] == "failed"
    assert line["traceback"].startswith("Traceback (most recent call last):")


def test_a_worker_logs_as_its_driver_does() -> None:
    logs.configure("json", io.StringIO())
    logs.identify(work="search-s-1", search="s-1")
    given = (logs.current_format(), logs.current_ids())
    logs.configure("text", io.StringIO())

    logs.follow(*given)

    assert logs.current_format() == "json"
    assert logs.current_ids() == {"work": "search-s-1", "search": "s-1"}


def test_a_change_of_status_names_what_it_is_about(sqlite: Database) -> None:
    search, lease = start_search(sqlite)
    stream = io.StringIO()
    logs.configure("json", stream)
    with sqlite.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")

    (line,) = _lines(stream)
    assert (line["search"], line["trial"]) == (search.id, "base")
    assert f"is {TrialStatus.RUNNING}" in line["message"]
