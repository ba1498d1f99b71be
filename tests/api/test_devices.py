"""Devices over HTTP: registered, listed, shown, deleted; named by searches."""

import httpx
import pytest

from api.client import ApiError, Client
from searchd.store import Database
from tests.searchd.store.device_factory import add_device, device_spec
from tests.searchd.store.factories import add_search, search_spec


def test_a_new_device_is_found_where_location_says(http: httpx.Client) -> None:
    response = http.post("/devices", json={"name": "laptop", "threads": 2})

    created = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/api/v1/devices/{created['id']}"
    assert (created["status"], created["status_reason"]) == ("measuring", "waits to be measured")
    assert (created["hardware"], created["median_error"], created["checked"]) == (None, None, [])
    assert http.get("/devices/laptop").json() == created


def test_a_device_that_cannot_be_is_refused(http: httpx.Client) -> None:
    response = http.post("/devices", json={"name": "laptop", "gpu": True})
    assert response.status_code == 422
    assert "onnxruntime uses the CPU only; use torch" in response.text


def test_a_measured_device_shows_how_well_it_predicts(client: Client, database: Database) -> None:
    add_device(database)

    found = client.get_device("laptop")

    assert (found.status, found.hardware, found.num_layers) == ("ready", "Test CPU", 1)
    assert (found.median_error, found.round_to) == (0.03, 1)
    (checked,) = found.checked
    assert checked.error == pytest.approx(0.03)
    assert [each.id for each in client.list_devices(status="ready")] == [found.id]
    assert list(client.list_devices(status="measuring")) == []


def test_validation_creates_nothing(client: Client) -> None:
    client.validate(device_spec())
    assert list(client.list_devices()) == []


def test_a_search_names_a_device_that_is_ready(client: Client, database: Database) -> None:
    add_search(database)
    given = {**search_spec("fast").model_dump(mode="json", exclude_unset=True)}
    spec = search_spec("fast").model_validate(
        {**given, "score": {"cost": "latency", "device": "laptop"}}
    )
    with pytest.raises(
        ApiError, match="score.device: device 'laptop' does not exist; register it first"
    ):
        client.submit_search(spec)
    client.create_device(device_spec())
    with pytest.raises(ApiError, match="'laptop' is measuring and has no lookup table"):
        client.submit_search(spec)


def test_a_device_is_deleted_unless_a_search_names_it(client: Client, database: Database) -> None:
    add_device(database)
    client.delete_device("laptop")
    with pytest.raises(ApiError, match="device 'laptop' does not exist"):
        client.get_device("laptop")
