"""Search of the pool itself: hill climbing over the genes of its subnets.

Joint-DetNAS appendix F, docs/papers.md 1.7: the subnets are the detectors, with the same score.
Nothing is trained: a subnet's BN statistics are reset, and it is evaluated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from searchd.domain.subnet import Subnet
from searchd.domain.trial import BASE_NAME, Proposal, TakeSubnet, TrialRole, trial_name
from searchd.search.history import Completion, ranking, search_trials
from searchd.search.sampling import mutate_subnet, rank_sample
from searchd.search.strategies.base import PoolStrategy, converged, spent


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSearch(PoolStrategy):
    """Begins with the largest subnet, and mutates one of the best; each subnet is taken once,
    since another evaluation would find the same."""

    control: bool = False
    """There is no training whose gain a control could show."""
    patience: int = 20
    top_k: int = 5
    another_gene_probability: float = 0.3

    def stop_reason(
        self, proposals: Sequence[Proposal], completions: Sequence[Completion]
    ) -> str | None:
        num_subnets = self.space.num_subnets
        if len(search_trials(proposals)) == num_subnets:
            return f"complete: all {num_subnets} subnets of the pool"
        return spent(self.max_trials, proposals) or converged(self.patience, completions)

    def propose(self, proposals: Sequence[Proposal], completions: Sequence[Completion]) -> Proposal:
        earlier = search_trials(proposals)
        rng = self.generator(trial_name(TrialRole.SEARCH, len(earlier)))
        parent, subnet = BASE_NAME, self.space.largest
        top = ranking(completions)[: self.top_k]
        if top:
            chosen = rank_sample(top, rng).proposal
            parent, subnet = chosen.name, _subnet(chosen)
        taken = {_subnet(proposal) for proposal in earlier}
        while subnet in taken:  # walks on where all neighbours are known, and reaches any subnet
            subnet = mutate_subnet(subnet, self.space, rng, self.another_gene_probability)
        return Proposal(
            role=TrialRole.SEARCH,
            number=len(earlier),
            parent=parent,
            change=TakeSubnet(subnet=subnet),
            teacher=None,
            seed=rng.getrandbits(31),
            completed_before=len(completions),
        )


def _subnet(proposal: Proposal) -> Subnet:
    assert isinstance(proposal.change, TakeSubnet)  # this strategy proposes nothing else
    return proposal.change.subnet
