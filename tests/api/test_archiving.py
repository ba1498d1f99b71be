"""Everything that has a list of its own is archived over HTTP and by the client."""

import httpx
import pytest

from api.client import ApiError, Client
from api.client.protocol import ListedKind
from searchd.domain.lifecycle import SearchStatus
from searchd.store import Database
from searchd.store.work import queue
from tests.searchd.store.device_factory import add_device
from tests.searchd.store.distillation_factory import start_distillation
from tests.searchd.store.factories import add_teacher, base_proposal, run_trial, start_search

NAMES: dict[ListedKind, str] = {
    "datasets": "shapes",
    "devices": "laptop",
    "pools": "teachers",
    "teachers": "strong",
    "searches": "first",
    "distillations": "mtpd",
}


@pytest.fixture
def everything(database: Database) -> None:
    """One resource of each kind, which has ended."""
    _, search = start_search(database)
    run_trial(database, search, base_proposal())
    add_teacher(database, "strong")
    add_device(database)
    _, distillation = start_distillation(database)
    for lease in (search, distillation):
        with database.write() as session:
            queue.finish(session, lease, SearchStatus.SUCCEEDED, "done")


def names(http: httpx.Client, kind: str, **parameters: str) -> list[str]:
    return [each["name"] for each in http.get(f"/{kind}", params=parameters).json()["items"]]


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize("kind", NAMES)
def test_what_is_archived_is_listed_on_request_only(
    http: httpx.Client, client: Client, kind: ListedKind
) -> None:
    name = NAMES[kind]
    for _ in range(2):
        client.archive(kind, name)
    assert names(http, kind) == []
    assert names(http, kind, archived="true") == [name]
    assert http.get(f"/{kind}/{name}").json()["archived_at"] is not None

    client.unarchive(kind, name)
    assert names(http, kind) == [name]
    assert http.get(f"/{kind}/{name}").json()["archived_at"] is None


@pytest.mark.usefixtures("everything")
def test_few_fields_of_a_list_may_be_when_it_was_archived(http: httpx.Client) -> None:
    http.post("/searches/first/archive")
    (found,) = http.get("/searches", params={"fields": "archived_at", "archived": "true"}).json()[
        "items"
    ]
    assert list(found) == ["archived_at"]


def test_what_runs_is_refused(client: Client, database: Database) -> None:
    start_search(database)
    with pytest.raises(
        ApiError, match="first is running; only what has ended can be archived"
    ) as refused:
        client.archive("searches", "first")
    assert refused.value.problem.status == 409
