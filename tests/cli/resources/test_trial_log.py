"""`searchd search log`: what a trial's worker has logged, for people and programs."""

import json

import pytest

from searchd.store import Database
from searchd.store.runs import trials
from tests.api.service import Service
from tests.api.test_trial_logs import store
from tests.cli.conftest import Run
from tests.searchd.store.factories import base_proposal, start_search


@pytest.fixture(autouse=True)
def _log(service: Service, database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")
    store(service, search.id, 1, ["prepare", "train, epoch 1 of 2: loss 1.5", "done"])


def test_lines_are_printed_oldest_first(searchd: Run) -> None:
    lines = searchd("search", "log", "first", "--trial", "base").stdout.splitlines()
    assert len(lines) == 3
    assert lines[1].endswith(" INFO    train, epoch 1 of 2: loss 1.5")


def test_the_end_alone_can_be_printed_as_json(searchd: Run) -> None:
    arguments = ("search", "log", "first", "--trial", "base", "--tail", "1", "--format", "json")
    (line,) = json.loads(searchd(*arguments).stdout)
    assert (line["line"], line["message"], line["traceback"]) == (3, "done", None)


def test_a_trial_that_does_not_exist_is_named(searchd: Run) -> None:
    result = searchd("search", "log", "first", "--trial", "12")
    assert result.exit_code == 1
    assert "-12' does not exist" in result.stderr
