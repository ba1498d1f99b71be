"""What tests of several packages share: how they are spread over processes, a PostgreSQL server,
and a log of its own for each."""

import logging
import signal
from collections.abc import Iterator

import pytest

from benchmarks import postgresql
from benchmarks.postgresql import PostgresqlServer

_FOLDERS = ("api", "chaos", "cli", "deploy", "detection", "e2e", "elastic_pool", "searchd")
pytest.register_assert_rewrite("tests.browser", *(f"tests.{name}" for name in _FOLDERS))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One for this test run, on a socket in a temporary folder."""
    if not postgresql.BINARIES.is_dir():
        pytest.skip(f"PostgreSQL is not installed in {postgresql.BINARIES}")
    pytest.importorskip("psycopg")
    with postgresql.running() as server:
        yield server


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Undo how a command or a worker, which is called in this process, has set the log up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """Undo what a test leaves: torch's readers and our commands handle signals of this process, and
    a process of tests that did so for hundreds of later tests crashed once in a few runs."""
    before = {number: signal.getsignal(number) for number in _HANDLED}
    yield
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in this hook too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share fixtures in one process: those of a file, those that train real
    detectors on Ray, and those that kill a service whose workers train nothing. Tests that start
    Ray come first, since they take longest."""
    items.sort(key=_starts_no_ray)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    file = item.nodeid.partition("::")[0]
    if isinstance(item, pytest.Function) and item.get_closest_marker("matrix"):
        values = item.callspec.params
        return f"{values['family']} {values['kind']}"  # all formats share one traced detector
    if file.startswith("tests/detection/deployment"):
        return "tests/detection/deployment"  # they share traced detectors
    if _starts_no_ray(item):
        return file
    return "real" if file.startswith(("tests/e2e", "tests/workers")) else "service"


def _starts_no_ray(item: pytest.Item) -> bool:
    return item.get_closest_marker("e2e") is None
