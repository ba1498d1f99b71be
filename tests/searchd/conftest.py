"""What tests of the control plane share."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from searchd.store import Database, upgrade


class FakeClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC) + timedelta(hours=1)
        self.passed_s = 0.0

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.passed_s += seconds

    def put_forward(self, **by: float) -> None:
        """As an operator or NTP does, while no time passes; `by` as of timedelta."""
        self.now += timedelta(**by)

    def watch(self) -> float:
        """Seconds that have passed, whatever the clock shows."""
        return self.passed_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and no rows."""
    file = tmp_path_factory.mktemp("empty") / "searchd.sqlite"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite(empty_sqlite: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty database in a file of its own."""
    file = shutil.copy(empty_sqlite, tmp_path / "searchd.sqlite")
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()
