"""The command line, and a service that it calls."""

from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from searchd.store import Database
from tests.api.service import Service, serve

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve(tmp_path_factory.mktemp("cli")) as service:
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
def offline() -> Run:
    """Runs `searchd ARGUMENTS` without a service."""
    runner = CliRunner(env={"COLUMNS": "300"})  # a long path stays in one line
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def searchd(service: Service) -> Run:
    """Runs `searchd ARGUMENTS` against the service."""
    runner = CliRunner(env={"SEARCHD_URL": service.url, "COLUMNS": "300"})
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])
