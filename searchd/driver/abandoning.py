"""What a worker is told of the first epoch, in a search that abandons hopeless trials."""

from sqlalchemy.orm import Session

from searchd.domain.trial import Proposal, TrialRole
from searchd.driver.orders import Run
from searchd.driver.scoring import base_macs_of
from searchd.search.abandoning import abandon_below
from searchd.search.strategies.joint_detnas import JointDetNas
from searchd.search.strategies.rules import Rules
from searchd.spec import FirstEpochOrder
from searchd.store import completions
from searchd.store.models import RunRow


def first_epoch_of(
    session: Session, run: Run, rules: Rules, proposal: Proposal
) -> FirstEpochOrder | None:
    """None for a trial that is not judged by its first epoch: of another role, or strategy."""
    if not isinstance(rules, JointDetNas) or not rules.abandon:
        return None
    if proposal.role is not TrialRole.SEARCH:
        return None
    base_macs = base_macs_of(session, run)
    assert base_macs is not None  # search trials come after the base
    told = completions.of_run(session, session.get_one(RunRow, run.id))
    return FirstEpochOrder(base_macs=base_macs, abandon_below=abandon_below(rules, proposal, told))
