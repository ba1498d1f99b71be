"""`archive`, `unarchive` and `list --archived`."""

import json

from searchd.store import Database
from tests.cli.conftest import Run
from tests.searchd.store.factories import add_dataset, add_pool


def listed(searchd: Run, *options: str) -> list[str]:
    found = searchd("pool", "list", "--format", "json", *options)
    return [each["name"] for each in json.loads(found.stdout)]


def test_a_pool_is_archived_and_listed_again(searchd: Run, database: Database) -> None:
    add_dataset(database)
    add_pool(database)

    archived = searchd("pool", "archive", "teachers")
    assert archived.stdout == "archived pool teachers; list --archived lists it\n"
    assert listed(searchd) == []
    assert listed(searchd, "--archived", "--filter", "status=ready") == ["teachers"]

    searchd("pool", "unarchive", "teachers")
    assert listed(searchd) == ["teachers"]


def test_what_is_in_training_is_not_archived(searchd: Run, database: Database) -> None:
    add_dataset(database)
    add_pool(database, ready=False)

    refused = searchd("pool", "archive", "teachers")

    assert refused.exit_code == 1
    assert "teachers is queued; only what has ended can be archived" in refused.stderr
