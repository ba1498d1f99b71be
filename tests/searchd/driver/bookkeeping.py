"""What tests of the ledger do in place of a driver and its workers."""

from sqlalchemy import update

from searchd import artifacts
from searchd.domain.lifecycle import FailureCause
from searchd.domain.trial import Outcome, Proposal
from searchd.driver.ledger import Ledger
from searchd.messages.codecs import REPORT
from searchd.messages.reports import Report
from searchd.settings import Settings
from searchd.spec import SearchSpec
from searchd.store import Database, Lease
from searchd.store.models import RunRow, TrialRow
from searchd.store.runs import trials
from tests.searchd.store import factories

BASE = factories.base_proposal()


def submitted(database: Database, lease: Lease, settings: Settings, spec: SearchSpec) -> Ledger:
    """The ledger of the search, as if this spec had been submitted."""
    with database.write() as session:
        session.execute(update(RunRow).values(spec=spec))
    return Ledger(database, lease, settings)


def trial(database: Database, ledger: Ledger, name: str) -> TrialRow:
    with database.read() as session:
        return trials.get(session, f"{ledger.run_id}-{name}")


def started(ledger: Ledger, proposal: Proposal) -> None:
    """Propose a trial and let a worker take it."""
    ledger.propose(proposal)
    ledger.start(ledger.task(proposal))


def write_report(ledger: Ledger, proposal: Proposal, report: Report) -> None:
    """What a worker does at its end, for the attempt under way."""
    folder = ledger.task(proposal).artifacts.replace(
        f"attempt-{report.attempt + 1}", f"attempt-{report.attempt}"
    )
    artifacts.write(f"{folder}/report.json", REPORT.dump_json(report), name="report")


def failed(
    name: str, cause: FailureCause, reason: str = "why", *, attempt: int = 1, damaged: str = ""
) -> Report:
    return Report(
        trial=name,
        attempt=attempt,
        outcome=Outcome.FAILED,
        cause=cause,
        reason=reason,
        damaged=damaged,
    )
