"""Searches and distillations whose trials are run in this process: real detectors, real training,
the ledger's tasks."""

import threading
from pathlib import Path

from searchd.domain.detector import Detector
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import Artifact, Proposal
from searchd.driver.distillation_plan import make_plan, needs_plan
from searchd.driver.ledger import Ledger
from searchd.messages.reports import Report
from searchd.messages.tasks import SplitMeasurement, SplitTask, TrialTask
from searchd.search.ask_tell import Finished, Wait, decide, replay
from searchd.settings import Settings
from searchd.spec import DistillationSpec, SearchSpec, ShrinkPhaseSpec
from searchd.store import Database
from searchd.store.models import RunRow
from searchd.store.resources import distillations, searches
from searchd.store.work import queue
from tests.searchd.store import factories
from tests.workers.trial.tasks import ONE_EPOCH
from workers.comparison.splits import measure_on_split
from workers.trial.context import TrialContext
from workers.trial.run import run_trial

TRAINING = ONE_EPOCH.model_copy(update={"learning_rate": 0.01})
PHASE = ShrinkPhaseSpec(
    name="supernet",
    min_depths=(2, 1, 1, 1),
    min_width=1.0,
    learning_rate=0.02,
    epochs=1,
    distil=False,
)


class Search:
    """A search or a distillation that is run trial by trial, in this process, as its driver would.

    Attributes:
        ledger: Of its driver.
        proposals, reports: Of its trials, by name.
        finished: How it ended.
    """

    def __init__(
        self, database: Database, folder: Path, spec: SearchSpec | DistillationSpec
    ) -> None:
        with database.write() as session:
            row: RunRow
            if isinstance(spec, SearchSpec):
                row = searches.create(session, spec)
            else:
                row = distillations.create(session, spec)
            work = queue.of_resource(session, row.id).id
        with factories.leased(database, work) as (session, lease):
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        self.ledger = ledger = Ledger(database, lease, Settings(data_folder=folder))
        context = TrialContext()
        self.proposals: dict[str, Proposal] = {}
        self.reports: dict[str, Report] = {}
        while not isinstance(decision := decide(ledger.strategy(), ledger.history), Finished):
            if isinstance(decision, Wait):
                assert needs_plan(ledger.strategy(), ledger.history)
                assert make_plan(ledger, Settings(data_folder=folder), threading.Event()) is None
                continue
            name = decision.name
            self.proposals[name] = decision
            ledger.propose(decision)
            task = ledger.task(decision)
            ledger.start(task)
            sent = TrialTask.model_validate_json(task.model_dump_json())
            self.reports[name] = run_trial(sent, context=context)
            completion = ledger.record(self.reports[name])
            assert completion is not None
        self.finished = decision
        stored = Ledger(database, lease, Settings(data_folder=folder)).history
        assert decide(ledger.strategy(), stored) == decision  # of the next driver
        proposals = list(stored.proposals)
        assert replay(ledger.strategy(), proposals, stored.completions) == proposals


class InThisProcess:
    """Measures at once, instead of in a worker of Ray."""

    def options(self, **_: float) -> "InThisProcess":
        return self

    def remote(self, _path: str, task: SplitTask) -> list[SplitMeasurement]:
        return measure_on_split(task)

    def wait(self, references: list[object], **_: float) -> tuple[list[object], list[object]]:
        return references, []

    def get(self, found: list[SplitMeasurement]) -> list[SplitMeasurement]:
        return found


def macs(report: Report) -> float:
    assert report.base_macs is not None
    return report.base_macs


def stored(report: Report) -> tuple[Detector, Artifact]:
    assert report.detector is not None
    (student,) = (each for each in report.artifacts if each.name == "student")
    return report.detector, student
