"""A driver's database while its server is away."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from searchd.store import Database, reconnecting
from searchd.store.reconnecting import RetryingDatabase


class Server:
    """Refuses as many connections as a test wants."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refusals = 0
        self._connect = database.engine.connect
        monkeypatch.setattr(database.engine, "connect", self.connect)
        monkeypatch.setattr(reconnecting, "_RETRY_S", 0.01)

    def connect(self) -> object:
        if self.refusals:
            self.refusals -= 1
            raise OperationalError("connect", None, OSError("Connection refused"))
        return self._connect()


def test_step_waits_until_the_server_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database = RetryingDatabase("sqlite://", timeout_s=5)
    server = Server(database, monkeypatch)
    for step in (database.read, database.write):
        server.refusals = 2
        with step() as session:
            assert session.scalar(text("SELECT 1")) == 1
    assert len(caplog.messages) == 4
    assert "Connection refused" in caplog.messages[0]


def test_step_fails_when_the_server_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    database = RetryingDatabase("sqlite://", timeout_s=0.05)
    Server(database, monkeypatch).refusals = 100

    with pytest.raises(OperationalError, match="Connection refused"), database.write():
        pass
