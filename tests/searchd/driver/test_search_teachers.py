"""What a trial of a search with a pool and a registered teacher inherits and is handed."""

from dataclasses import replace

import pytest

from searchd.domain.lifecycle import SearchStatus
from searchd.domain.teacher import RegisteredTeacher, Teacher
from searchd.domain.trial import BASE_NAME, MutateTeacher, Proposal
from searchd.driver.ledger import Ledger
from searchd.messages.tasks import TrialTask
from searchd.search.strategies.joint_detnas import JointDetNas
from searchd.settings import Settings
from searchd.spec import TeachersSpec
from searchd.store import Database
from searchd.store.resources import searches
from searchd.store.work import queue
from tests.searchd.store import factories

SPACE = factories.pool_spec().space.space
SMALL, LARGE = SPACE.smallest, SPACE.largest


class Search:
    """A search whose trials a test proposes."""

    def __init__(self, database: Database, settings: Settings) -> None:
        factories.add_dataset(database)
        factories.add_pool(database)
        self.strong = RegisteredTeacher(teacher=factories.add_teacher(database))
        self.other = RegisteredTeacher(teacher=factories.add_teacher(database, "other"))
        spec = TeachersSpec(registered=("strong", "other"), registered_share=0.25)
        with database.write() as session:
            row = searches.create(session, factories.search_spec(teachers=spec))
        with factories.leased(database, f"search-{row.id}") as (session, lease):
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
            queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
        self.database, self.lease = database, lease
        self.ledger = Ledger(database, lease, settings)
        base = factories.base_proposal()
        factories.run_trial(database, lease, base, factories.succeeded(BASE_NAME))
        self.parent = BASE_NAME

    def propose(self, number: int, teacher: Teacher) -> Proposal:
        return replace(
            factories.search_proposal(number, self.parent),
            teacher=teacher,
            change=MutateTeacher(),
        )

    def lineage(self, *taught_by: Teacher) -> None:
        """Run trials, each of which inherits from the one before."""
        for number, teacher in enumerate(taught_by):
            proposal = self.propose(number, teacher)
            report = factories.succeeded(proposal.name)
            files = (factories.artifact("student"), factories.artifact("adapters"))
            report = replace(report, artifacts=files)
            factories.run_trial(self.database, self.lease, proposal, report)
            self.parent = proposal.name

    def task(self, teacher: Teacher) -> TrialTask:
        """The task of the next trial of the lineage."""
        proposal = self.propose(99, teacher)
        self.ledger.propose(proposal)
        return self.ledger.task(proposal)


@pytest.fixture
def search(sqlite: Database, settings: Settings) -> Search:
    return Search(sqlite, settings)


def has_adapters(task: TrialTask) -> bool:
    assert task.inherited is not None
    return task.inherited.adapters is not None


def test_the_strategy_draws_from_the_registered_teachers_in_their_order(search: Search) -> None:
    strategy = search.ledger.strategy()
    assert isinstance(strategy, JointDetNas)
    assert strategy.registered == (search.strong, search.other)
    assert (strategy.space, strategy.registered_share) == (SPACE, 0.25)


def test_a_trial_gets_the_weights_of_its_registered_teacher_and_no_pool(search: Search) -> None:
    task = search.task(search.strong)
    assert task.registered.keys() == {search.strong.teacher}
    assert task.registered[search.strong.teacher].weights == factories.artifact("teacher")
    assert task.pool is None


def test_a_trial_under_a_subnet_gets_the_pool_alone(search: Search) -> None:
    task = search.task(SMALL)
    assert task.pool is not None
    assert task.registered == {}


def test_adapters_are_kept_from_one_subnet_to_another(search: Search) -> None:
    search.lineage(LARGE)
    assert has_adapters(search.task(SMALL))


def test_adapters_are_kept_under_the_same_registered_teacher(search: Search) -> None:
    search.lineage(search.strong)
    assert has_adapters(search.task(search.strong))


@pytest.mark.parametrize("change", ["to registered", "to subnet", "to another registered"])
def test_adapters_that_cannot_fit_are_not_inherited(search: Search, change: str) -> None:
    changes: dict[str, tuple[Teacher, Teacher]] = {
        "to registered": (LARGE, search.strong),
        "to subnet": (search.strong, LARGE),
        "to another registered": (search.strong, search.other),
    }
    before, after = changes[change]
    search.lineage(before)
    task = search.task(after)
    assert task.inherited is not None
    assert task.inherited.student == factories.artifact("student")
    assert not has_adapters(task)


def test_adapters_are_those_of_the_last_teacher(search: Search) -> None:
    search.lineage(LARGE, search.strong)
    assert not has_adapters(search.task(SMALL))
