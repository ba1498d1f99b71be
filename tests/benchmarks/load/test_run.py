"""A short load: many users at once, and every promise of the API is kept."""

import pytest

from benchmarks import postgresql
from benchmarks.load.run import load, table

pytestmark = pytest.mark.timeout(60)  # a whole API under load


@pytest.mark.skipif(not postgresql.BINARIES.is_dir(), reason="PostgreSQL is not installed")
def test_twenty_users_at_once_are_answered_as_they_should_be_and_promises_are_kept() -> None:
    outcome = load("postgresql", num_clients=20, seconds=5)

    assert outcome.violations == []
    statuses = {status for _, status, _ in outcome.promises.samples}
    assert statuses >= {200, 201, 202, 409, 422}
    assert len(outcome.promises.submitted) >= 20
    assert outcome.promises.cancelled
    *_, summary = table(outcome)
    assert summary.endswith("0 violations")
