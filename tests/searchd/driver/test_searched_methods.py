"""A search that also searches its distillation methods, through the books of its driver: what is
stored, what workers are handed, and what a later driver finds."""

import pytest

from searchd.domain.distillation_methods import MethodName
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.method_set import MutateMethods
from searchd.domain.trial import Proposal, TrialRole
from searchd.driver.ledger import Ledger
from searchd.driver.strategies import strategy_of
from searchd.messages.tasks import TrialTask
from searchd.search.ask_tell import Finished, decide, replay
from searchd.search.strategies.joint_detnas import JointDetNas
from searchd.search.strategies.random_search import RandomSearch
from searchd.settings import Settings
from searchd.spec import BudgetSpec, FinishBudgetSpec, FinishSpec, RandomSpec
from searchd.store import Database, Lease
from searchd.store.resources import finish, searches
from searchd.store.runs import trials
from searchd.store.work import queue
from tests.searchd.driver.bookkeeping import started
from tests.searchd.store import factories

DISTILLATION = {
    "methods": [{"name": "sgfi", "options": {"adapter_kernel": 3}}],
    "search": {"methods": [{"name": "cwd"}, {"name": "pkd"}], "max_methods": 2},
    "teacher_ap_floor": 0.25,
}
BUDGET = BudgetSpec(max_trials=12, finish=FinishBudgetSpec(detectors=1, epochs=2))


class Search:
    """A search of 12 trials whose workers do nothing but report rising APs.

    Attributes:
        tasks: What workers were handed, by the trial's name.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        factories.add_dataset(database)
        factories.add_pool(database)
        spec = factories.search_spec(distillation=DISTILLATION, budget=BUDGET)
        with database.write() as session:
            row = searches.create(session, spec)
        with factories.leased(database, f"search-{row.id}") as (session, lease):
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
            queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
        self.lease: Lease = lease
        self.database, self.settings = database, settings
        self.ledger = Ledger(database, lease, settings)
        self.tasks: dict[str, TrialTask] = {}
        while isinstance(proposal := decide(self.ledger.strategy(), self.ledger.history), Proposal):
            self._run(proposal)
        assert isinstance(proposal, Finished), proposal

    def _run(self, proposal: Proposal) -> None:
        started(self.ledger, proposal)
        task = self.ledger.task(proposal)
        self.tasks[proposal.name] = TrialTask.model_validate_json(task.model_dump_json())
        ap = 0.3 + len(self.tasks) / 100
        self.ledger.record(factories.succeeded(proposal.name, ap=ap))

    @property
    def proposals(self) -> list[Proposal]:
        return [task.proposal for task in self.tasks.values()]


@pytest.fixture
def search(sqlite: Database, settings: Settings) -> Search:
    return Search(sqlite, settings)


def handed(task: TrialTask) -> list[tuple[MethodName, float | None]]:
    return [(each.name, each.weight) for each in task.distillation.methods]


def test_a_worker_is_handed_the_methods_of_its_proposal_with_the_options_of_the_spec(
    search: Search,
) -> None:
    mutated = 0
    for task in search.tasks.values():
        if task.proposal.teacher is None:
            assert task.distillation.methods == ()
            continue
        assert task.proposal.methods is not None
        assert handed(task) == list(task.proposal.methods.weights.items())
        assert task.distillation.teacher_ap_floor == 0.25
        for method in task.distillation.methods:
            if method.name is MethodName.SGFI:
                assert method.options["adapter_kernel"] == 3
        mutated += isinstance(task.proposal.change, MutateMethods)
    assert mutated >= 2
    assert len({task.proposal.methods for task in search.tasks.values()}) >= 3


def test_the_finished_detector_is_taught_by_the_methods_of_its_trial(search: Search) -> None:
    (last,) = (p for p in search.proposals if p.role is TrialRole.FINISH)
    assert last.methods == search.tasks[last.parent or ""].proposal.methods
    assert last.methods is not None
    assert handed(search.tasks[last.name]) == list(last.methods.weights.items())


def test_a_later_driver_replays_the_stored_proposals(search: Search) -> None:
    later = Ledger(search.database, search.lease, search.settings)
    assert list(later.history.proposals) == search.proposals
    decided = replay(later.strategy(), search.proposals, later.history.completions)
    assert decided == search.proposals


def test_a_fine_tuning_keeps_the_methods_of_the_trial(search: Search) -> None:
    trial = next(p for p in search.proposals if isinstance(p.change, MutateMethods))
    trial_id = trials.trial_id(search.ledger.run_id, trial.name)
    with search.database.write() as session:
        queue.finish(session, search.lease, SearchStatus.SUCCEEDED, "converged")
    with search.database.write() as session:
        found = searches.get(session, search.ledger.run_id)
        (tuned,) = finish.finish(session, found, FinishSpec(detectors=(trial_id,)))
        spec = tuned.spec
    assert trial.methods is not None
    expected = list(trial.methods.weights.items())
    assert [(each.name, each.weight) for each in spec.distillation.methods] == expected


def test_both_strategies_that_choose_parents_have_the_genes(search: Search) -> None:
    spec = search.ledger.spec
    climbing = strategy_of(spec, factories.pool_spec())
    drawing = strategy_of(spec.model_copy(update={"strategy": RandomSpec()}), factories.pool_spec())
    assert isinstance(climbing, JointDetNas)
    assert isinstance(drawing, RandomSearch)
    assert climbing.genes == drawing.genes
    assert climbing.genes is not None
    assert str(climbing.genes.start) == "sgfi 1"
    assert [str(each) for each in climbing.genes.allowed] == ["sgfi 1", "cwd 5", "pkd 6"]
