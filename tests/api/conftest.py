"""The service that the API's tests call."""

from collections.abc import Iterator

import httpx
import pytest

from api.client import Client
from searchd.store import Database
from tests.api.service import Service, serve


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve(tmp_path_factory.mktemp("api")) as service:
        yield service


@pytest.fixture
def service(shared_service: Service) -> Service:
    """A running API on an empty database."""
    shared_service.forget_everything()
    return shared_service


@pytest.fixture
def database(service: Service) -> Database:
    return service.database


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    """Plain HTTP, relative to /api/v1."""
    with httpx.Client(base_url=f"{service.url}/api/v1") as client:
        yield client


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client
