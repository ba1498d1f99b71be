"""A search with a trial that has ended, as sinks get it."""

from dataclasses import replace
from pathlib import Path

import pytest

from searchd import artifacts
from searchd.driver.ledger import Ledger
from searchd.driver.sinks.base import RunFacts
from searchd.settings import Settings
from searchd.store import Database
from searchd.store.models import TrialRow
from tests.searchd.driver.bookkeeping import BASE, started, trial
from tests.searchd.store import factories


@pytest.fixture
def facts(ledger: Ledger) -> RunFacts:
    return RunFacts(id=ledger.run_id, name="first", kind="search")


@pytest.fixture
def ended(sqlite: Database, ledger: Ledger, tmp_path: Path) -> TrialRow:
    """The base, with two epochs and a file of 7 bytes that is there."""
    student = artifacts.write(str(tmp_path / "student.safetensors"), b"weights", name="student")
    report = replace(
        factories.succeeded("base", ap=0.5),
        artifacts=(student,),
        epochs=(factories.epoch(1), factories.epoch(2)),
    )
    started(ledger, BASE)
    ledger.record(report)
    return trial(sqlite, ledger, "base")


@pytest.fixture
def sink_settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"sink_folder": str(tmp_path / "sinks")})
