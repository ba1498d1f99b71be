"""A pool whose teachers are too weak is trained further before the search spends trials."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from searchd.domain.lifecycle import PoolStatus, SearchStatus
from searchd.domain.subnet import Subnet
from searchd.domain.trial import BASE_NAME
from searchd.driver.ledger import Ledger
from searchd.driver.trial_loop import _PoolGate
from searchd.messages.reports import EvaluatedSubnet
from searchd.search.better_teachers import Comparison, extension_epochs
from searchd.settings import Settings
from searchd.spec import PoolExtensionSpec, SearchSpec, TrainingSpec
from searchd.store import Database
from searchd.store.models import EventRow, PoolRow, SearchRow
from searchd.store.resources import pools, searches
from searchd.store.work import queue
from tests.searchd.store import factories

LARGEST = factories.pool_spec().space.space.largest
STEP = factories.pool_spec().phases[-1].epochs


def compared(best: float, *, student: float = 0.5) -> Comparison:
    subnet = Subnet(depths=(1, 1, 1, 1), widths=(1.0,) * 4, neck_channels=8)
    return Comparison(student_ap=student, aps={subnet: best})


@pytest.mark.parametrize(
    ("best", "left", "epochs"),
    [(0.53, 10, 0), (0.52, 10, 0), (0.51, 10, 4), (0.40, 3, 3), (0.40, 0, 0), (0.40, -1, 0)],
)
def test_pool_is_extended_until_it_pays_or_nothing_is_left(
    best: float, left: int, epochs: int
) -> None:
    assert extension_epochs(compared(best), margin=0.02, step=4, left=left) == epochs


class Search:
    """A search that waits for its pool; its base has an AP of 50 %."""

    def __init__(
        self, database: Database, settings: Settings, extension: PoolExtensionSpec | None
    ) -> None:
        factories.add_dataset(database)
        self.database = database
        with database.write() as session:
            row = pools.create(session, factories.pool_spec())
        self.train(row.id, 0.4)
        trial = TrainingSpec(resolutions=(factories.LARGE,))
        spec = factories.search_spec(extend_pool=extension, trial=trial)
        with database.write() as session:
            search = searches.create(session, spec)
        with factories.leased(database, f"search-{search.id}") as (session, lease):
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        self.id = search.id
        self.ledger = Ledger(database, lease, settings)
        base = factories.succeeded(BASE_NAME, ap=0.5)
        factories.run_trial(database, lease, factories.base_proposal(), base)

    def train(self, pool: str, ap: float) -> None:
        """Let a pool become ready, with this AP of its largest subnet."""
        largest = EvaluatedSubnet(
            subnet=LARGEST, params=9, evaluations=(factories.evaluation(factories.LARGE, ap=ap),)
        )
        report = replace(factories.pool_report(pool), subnets=(largest,))
        with factories.leased(self.database, f"pool-{pool}") as (session, lease):
            queue.advance(session, lease, PoolStatus.TRAINING, "started")
            pools.record_report(session, lease, report)

    def opens(self) -> bool:
        return _PoolGate(self.ledger).is_open()

    @property
    def row(self) -> SearchRow:
        with self.database.read() as session:
            return session.get_one(SearchRow, self.id)

    @property
    def pool(self) -> PoolRow:
        """The pool that the search uses now."""
        with self.database.read() as session:
            return session.get_one(PoolRow, str(self.row.pool_id))

    def events(self) -> list[str]:
        with self.database.read() as session:
            return list(session.scalars(select(EventRow.message).order_by(EventRow.id)))


def test_search_waits_for_the_longer_training_and_uses_it(
    sqlite: Database, settings: Settings
) -> None:
    search = Search(sqlite, settings, PoolExtensionSpec(max_epochs=100))

    assert not search.opens()
    assert (search.pool.name, search.pool.status) == ("teachers-2", PoolStatus.QUEUED)
    assert search.pool.spec.start_from == "teachers"
    assert [phase.epochs for phase in search.pool.spec.phases] == [STEP]
    assert not search.opens()  # the new pool is not trained yet
    assert any(
        f"base 50.0%: the last phase of pool teachers is trained for {STEP} more" in event
        for event in search.events()
    )

    search.train(search.pool.id, 0.6)
    assert search.opens()
    assert search.row.teacher_aps is not None
    assert search.row.teacher_aps[0].ap == 0.6
    assert search.row.status is SearchStatus.RUNNING
    assert search.ledger.run.pool_id == search.row.pool_id


def test_search_goes_on_with_a_warning_once_the_epochs_are_spent(
    sqlite: Database, settings: Settings
) -> None:
    search = Search(sqlite, settings, PoolExtensionSpec(max_epochs=STEP + 1))
    epochs = []
    while not search.opens():
        epochs.append(search.pool.spec.phases[0].epochs)
        search.train(search.pool.id, 0.4)
    assert epochs == [STEP, 1]
    assert search.pool.name == "teachers-3"
    assert "warning: no measured teacher exceeds the base" in search.row.status_reason


def test_pool_is_not_extended_unless_the_search_asks_for_it(
    sqlite: Database, settings: Settings
) -> None:
    search = Search(sqlite, settings, None)
    assert search.opens()
    assert search.pool.name == "teachers"


def test_taken_name_is_passed_over(sqlite: Database, settings: Settings) -> None:
    search = Search(sqlite, settings, PoolExtensionSpec(max_epochs=100))
    with sqlite.write() as session:
        pools.create(session, factories.pool_spec().model_copy(update={"name": "teachers-2"}))
    assert not search.opens()
    assert search.pool.name == "teachers-3"


def test_extension_without_a_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="extend_pool: the search has no pool"):
        SearchSpec.model_validate(
            {
                "name": "s",
                "dataset": "d",
                "teachers": {"registered": ["t"]},
                "extend_pool": {"max_epochs": 1},
            }
        )
