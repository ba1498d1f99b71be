"""Files that are kept because a user wants them, and files that were collected."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from api.client import ApiError, Client
from cli.main import app
from searchd.store import Database, Role, events
from searchd.store.base import now
from searchd.store.resources import searches, tokens
from searchd.store.runs import retention, trials
from tests.api.service import Service
from tests.api.test_auth import App
from tests.searchd.store.factories import (
    base_proposal,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
)


@pytest.fixture
def search_id(database: Database) -> str:
    """A search whose trial 0 nothing needs."""
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.5, macs=1e9))
    for number in range(6):
        run_trial(database, lease, search_proposal(number), succeeded(str(number), ap=number / 10))
    return search.id


def collect(database: Database, search_id: str) -> tuple[str, ...]:
    with database.write() as session:
        return retention.collect(
            session, search_id, keep_s=0, now=now() + timedelta(seconds=1)
        ).collected


def test_a_pinned_trial_shows_it_and_is_not_collected(
    http: httpx.Client, database: Database, search_id: str
) -> None:
    for _ in range(2):
        pinned = http.post(f"/detectors/{search_id}-0/pin")
        assert (pinned.status_code, pinned.json()["pinned"]) == (200, True)
    assert http.get(f"/detectors/{search_id}-0").json()["pinned"] is True
    assert collect(database, search_id) == ()
    with database.read() as session:
        messages = [event.message for event in events.after(session, search_id)]
    assert messages.count("pinned by a user: its files are kept") == 1

    assert http.post(f"/detectors/{search_id}-0/unpin").json()["pinned"] is False
    assert collect(database, search_id) == ("0",)


def test_a_collected_file_is_gone_and_the_answer_says_why_and_how_to_keep_one(
    http: httpx.Client, database: Database, search_id: str
) -> None:
    collect(database, search_id)
    detector = http.get(f"/detectors/{search_id}-0").json()
    assert [file["deleted_at"] is not None for file in detector["artifacts"]] == [True, True]
    lost, too_late = (
        http.get(f"/detectors/{search_id}-0/artifacts/student"),
        http.post(f"/detectors/{search_id}-0/pin"),
    )
    assert (lost.status_code, lost.json()["type"]) == (410, "urn:searchd:problem:collected")
    assert (too_late.status_code, too_late.json()["type"]) == (409, "urn:searchd:problem:conflict")
    for problem in (lost.json(), too_late.json()):
        assert problem["detail"].startswith(f"student of {search_id}-0 was collected at ")
        assert problem["detail"].endswith("are kept: searchd search pin TRIAL")


def test_what_is_not_yet_trained_can_be_pinned(http: httpx.Client, database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        trials.add(session, lease, base_proposal())
    assert http.post(f"/detectors/{search.id}-base/pin").json()["pinned"] is True
    assert http.post(f"/detectors/{search.id}-9/pin").status_code == 404


def test_only_the_owner_and_admins_may_pin(database: Database, search_id: str) -> None:
    with database.write() as session:
        searches.get(session, search_id).owner = "sam"
        secrets = {
            name: tokens.create(session, name, role)
            for name, role in (("sam", Role.SUBMIT), ("sue", Role.SUBMIT), ("ann", Role.ADMIN))
        }
    guarded = App.on(database, tokens_needed=True)
    for verb in ("pin", "unpin"):
        path = f"/api/v1/detectors/{search_id}-0/{verb}"
        found = {who: guarded.post(path, secret=secrets[who]).status_code for who in secrets}
        assert found == {"sam": 200, "sue": 403, "ann": 200}


def test_the_client_and_the_command_line_pin_too(
    client: Client, service: Service, search_id: str
) -> None:
    run = CliRunner(env={"SEARCHD_URL": service.url}).invoke
    trial = f"{search_id}-0"
    assert run(app, ["search", "pin", trial]).output == f"{trial} is pinned\n"
    assert client.get_trial(trial).pinned
    assert run(app, ["search", "unpin", trial]).output == f"{trial} is not pinned\n"
    assert not client.get_trial(trial).pinned
    assert client.pin(trial).pinned
    assert not client.unpin(trial).pinned


def test_a_collected_file_is_not_downloaded(
    client: Client, database: Database, search_id: str, tmp_path: Path
) -> None:
    collect(database, search_id)
    target = tmp_path / "student.safetensors"
    with pytest.raises(ApiError, match="was collected at"):
        client.download(f"{search_id}-0", "student", target)
    assert not target.exists()
