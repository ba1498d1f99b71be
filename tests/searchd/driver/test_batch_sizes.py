"""Retries after out of memory, where the batch size was found or the rate follows it."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from searchd.domain.lifecycle import FailureCause, TrialStatus
from searchd.driver.ledger import Ledger
from searchd.settings import Settings
from searchd.spec import BaseSpec, TrainingSpec
from searchd.store import Database, Lease
from searchd.store.models import RunRow
from tests.searchd.driver.bookkeeping import BASE, failed, started, trial
from tests.searchd.store import factories


def ledger_with(sqlite: Database, lease: Lease, settings: Settings, **training: object) -> Ledger:
    base = BaseSpec(training=TrainingSpec.model_validate(training))
    with sqlite.write() as session:
        session.execute(update(RunRow).values(spec=factories.search_spec(base=base)))
    return Ledger(sqlite, lease, settings)


def test_the_batch_size_that_was_found_is_halved_and_the_rate_follows_by_itself(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    ledger = ledger_with(sqlite, lease, settings, batch_size="auto", learning_rate=0.02)
    started(ledger, BASE)
    assert ledger.task(BASE).training.batch_size == "auto"

    ledger.record(replace(failed("base", FailureCause.OUT_OF_MEMORY), batch_size=8))

    training = ledger.task(BASE).training
    assert (training.batch_size, training.base_batch_size) == (4, 16)
    assert training.learning_rate == 0.02  # the worker scales it by 4 / 16
    assert trial(sqlite, ledger, "base").status_reason.startswith(
        "out_of_memory: why; retried with a batch size of 4 instead of 8 and a scaled learning rate"
    )


def test_a_trial_of_which_not_even_one_image_fits_has_failed(
    sqlite: Database, lease: Lease, settings: Settings
) -> None:
    ledger = ledger_with(sqlite, lease, settings, batch_size="auto")
    started(ledger, BASE)

    assert ledger.record(failed("base", FailureCause.OUT_OF_MEMORY)) is not None

    assert trial(sqlite, ledger, "base").status is TrialStatus.FAILED


@pytest.mark.parametrize(("base_batch_size", "rate"), [(None, 0.01), (16, 0.02)])
def test_a_rate_that_is_scaled_by_the_worker_is_not_scaled_twice(
    sqlite: Database, lease: Lease, settings: Settings, base_batch_size: int | None, rate: float
) -> None:
    ledger = ledger_with(
        sqlite, lease, settings, batch_size=4, learning_rate=0.02, base_batch_size=base_batch_size
    )
    started(ledger, BASE)

    ledger.record(failed("base", FailureCause.OUT_OF_MEMORY))

    training = ledger.task(BASE).training
    assert (training.batch_size, training.learning_rate) == (2, rate)
