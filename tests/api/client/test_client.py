"""The client: typed answers, readable errors, whole downloads."""

import asyncio
import ssl
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from api.client import ApiError, AsyncClient, Client, UnreachableError, protocol
from scripts.synchronous_client import CLIENT, generate
from searchd import artifacts
from searchd.domain.lifecycle import DatasetStatus, PoolStatus, SearchStatus
from searchd.store import Database
from searchd.store.resources import datasets, pools
from searchd.store.work import queue
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    base_proposal,
    dataset_spec,
    leased,
    pool_report,
    pool_spec,
    run_trial,
    search_proposal,
    search_spec,
    start_search,
    succeeded,
)


def test_resources_are_created_and_waited_for(client: Client, database: Database) -> None:
    dataset = client.create_dataset(dataset_spec(), key="k")
    assert client.create_dataset(dataset_spec(), key="k") == dataset
    pool = client.create_pool(pool_spec())
    search = client.submit_search(search_spec())
    assert client.get_dataset("shapes").status is DatasetStatus.CHECKING
    with leased(database, f"dataset_check-{dataset.id}") as (session, lease):
        datasets.record_ready(session, lease, {"images": 3})
    assert client.wait_for_dataset("shapes").summary == {"images": 3}
    with leased(database, f"pool-{pool.id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_report(session, lease, pool_report(pool.id))
    assert client.wait_for_pool("teachers").supernet is not None
    with leased(database, f"search-{search.id}") as (session, lease):
        queue.finish(session, lease, SearchStatus.CANCELLED, "never mind")
    assert client.wait_for_search("first").status is SearchStatus.CANCELLED


def test_lists_run_over_all_pages(client: Client, database: Database) -> None:
    names = [f"d{number}" for number in range(60)]
    for name in names:
        with database.write() as session:
            datasets.create(session, dataset_spec(name))
    assert [dataset.name for dataset in client.list_datasets()] == names[::-1]
    assert list(client.list_pools()) == []
    assert list(client.list_searches(status="running")) == []


def test_a_search_is_followed_through_its_events(client: Client, database: Database) -> None:
    search, lease = start_search(database)
    events = client.search_events(search.id)
    seen = [next(events) for _ in range(4)]
    assert [event.status for event in seen] == ["queued", "queued", "preparing", "running"]

    def end() -> None:
        with database.write() as session:
            queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")

    thread = threading.Thread(target=end)
    thread.start()
    assert [event.message for event in events] == ["converged"]
    thread.join()
    assert [event.number for event in client.search_events("first", after=4)] == [5]


def test_any_resource_is_watched_and_waited_for(client: Client, database: Database) -> None:
    search, lease = start_search(database)
    running = client.get_search("first")
    with pytest.raises(TimeoutError, match="first is still running"):
        client.wait(running, poll_s=0.01, timeout_s=0.02)
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
    assert client.wait(running).status is SearchStatus.SUCCEEDED
    assert [event.number for event in client.watch(running, after=4)] == [5]
    pool = client.wait(client.get_pool("teachers"))
    assert (pool.name, pool.status) == ("teachers", PoolStatus.READY)
    assert client.watch(client.get_dataset("shapes")) is not None


def test_lists_become_data_frames_and_tables(client: Client, database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.75))
    trials = client.trials(search.id)
    frame = trials.to_dataframe()
    assert list(frame["best.ap"]) == [0.5, 0.75]
    assert list(frame["name"]) == ["base", "0"] == [trial.name for trial in trials]
    assert "<td>succeeded</td>" in trials._repr_html_()
    assert "<th>status</th><td>running</td>" in client.get_search("first")._repr_html_()


def test_a_front_is_a_plot_in_a_notebook(client: Client, database: Database) -> None:
    search, lease = start_search(database)
    assert "<svg" in client.pareto(search.id)._repr_html_()
    run_trial(database, lease, base_proposal())
    plot = client.pareto(search.id)._repr_html_()
    assert plot.count("<circle") == len(client.pareto(search.id).front) > 0
    assert f"<title>{search.id}-base at" in plot


def test_the_client_for_asyncio_does_the_same(client: Client, database: Database) -> None:
    search, lease = start_search(database)
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")

    async def call() -> list[str]:
        async with AsyncClient(client.url) as remote:
            found = await remote.get_search("first")
            assert (await remote.wait(found)).status is SearchStatus.SUCCEEDED
            assert len([each async for each in remote.list_searches(status="succeeded")]) == 1
            return [event.message async for event in remote.watch(found, after=4)]

    assert asyncio.run(call()) == ["converged"]


def test_the_synchronous_client_is_generated_from_the_other(tmp_path: Path) -> None:
    generate(tmp_path)
    generated = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert generated == {
        file.name: file.read_text() for file in (CLIENT / "synchronous").glob("*.py")
    }


def test_pools_are_followed_and_cancelled(client: Client, database: Database) -> None:
    add_dataset(database)
    pool_id = add_pool(database, ready=False)
    assert client.ask_of_pool("teachers", "cancel").status is PoolStatus.CANCELLED
    assert [event.status for event in client.pool_events(pool_id)] == [
        "queued",
        "cancelled",
    ]


def test_what_a_search_found_is_typed(client: Client, database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.75))
    assert [trial.name for trial in client.trials("first")] == ["base", "0"]
    assert client.lineage("first").trials[1].gain == 0.25
    assert client.pareto("first").front[-1].evaluation.ap == 0.75
    assert client.get_trial(f"{search.id}-0").epochs[0].epoch == 1
    assert client.get_search("first").best_score == 0.75
    assert client.ask_of_search("first", "cancel").desired == "cancel"


def test_a_download_is_written_whole_and_checked(
    client: Client, database: Database, tmp_path: Path
) -> None:
    search, lease = start_search(database)
    stored = artifacts.write(str(tmp_path / "stored"), b"weights", name="student")
    run_trial(database, lease, base_proposal(), replace(succeeded("base"), artifacts=(stored,)))
    target = client.download(f"{search.id}-base", "student", tmp_path / "student.safetensors")
    assert target.read_bytes() == b"weights"
    (tmp_path / "stored").write_bytes(b"weightz")
    with pytest.raises(ApiError, match="arrived damaged"):
        client.download(f"{search.id}-base", "student", tmp_path / "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stored", "student.safetensors"]


def test_a_refusal_is_an_error_with_the_services_words(client: Client) -> None:
    with pytest.raises(ApiError, match="search 'x' does not exist") as caught:
        client.get_search("x")
    assert caught.value.problem.type == "urn:searchd:problem:not-found"
    with pytest.raises(ApiError, match="pool 'x' does not exist"):
        list(client.pool_events("x"))
    with pytest.raises(ApiError, match="dataset: data set 'shapes' does not exist"):
        client.validate(search_spec())


def test_an_absent_service_is_said_to_be_absent() -> None:
    with Client("http://127.0.0.1:9") as client:
        assert not client.is_ready()
        with pytest.raises(UnreachableError, match=r"no searchd service .* searchd up"):
            client.get_search("x")
        with pytest.raises(UnreachableError):
            next(client.search_events("x"))


def test_another_service_at_the_address_is_named() -> None:
    other = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # answers GET with 501 and HTML
    thread = threading.Thread(target=other.handle_request)
    thread.start()
    port = other.server_address[1]
    with (
        Client(f"http://127.0.0.1:{port}") as client,
        pytest.raises(ApiError, match="501: <.*is another service at this address"),
    ):
        client.get_search("x")
    thread.join()
    other.server_close()


def test_certificates_are_read_unless_the_service_is_on_this_machine() -> None:
    local = protocol.verification("http://127.0.0.1:8080", local=True)

    assert isinstance(local, ssl.SSLContext)
    assert (local.verify_mode, local.get_ca_certs()) == (ssl.CERT_REQUIRED, [])  # refuses HTTPS
    assert protocol.verification("https://127.0.0.1:8080", local=True) is True
    assert protocol.verification("http://detectors.example.org", local=False) is True
