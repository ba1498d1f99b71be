"""Search of the pool itself: hill climbing over the genes of its subnets.

Joint-DetNAS appendix F, docs/papers.md 1.7: the subnets are the detectors, with the same score.
Nothing is trained: a subnet's BN statistics are reset, and it is evaluated.
"""

from dataclasses import dataclass

from searchd.domain.subnet import Subnet
from searchd.domain.trial import BASE_NAME, Proposal, TakeSubnet, TrialRole, trial_name
from searchd.search.completions import Completions
from searchd.search.proposals import Proposals
from searchd.search.sampling import mutate_subnet, rank_sample
from searchd.search.strategies.base import PoolStrategy, converged, option, spent


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSearchSettings:
    """The settings of the search of the pool."""

    top_k: int = option(
        5,
        "Number of best subnets from which a parent is drawn; better ones are likelier.",
        ge=1,
    )
    another_gene_probability: float = option(
        0.3,
        "Probability, from 0 to 1, of resampling one more gene when a subnet is mutated.",
        ge=0,
        lt=1,
    )
    num_images: int | None = option(
        None,
        "Number of validation images, evenly spaced over the split, by which subnets are compared, "
        "so that more of them are evaluated in an hour. The front is measured on all images at the "
        "end. Null: all images.",
        ge=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSearch(PoolStrategy):
    """Starts with the largest subnet, and mutates one of the best. Each subnet is evaluated once,
    since another evaluation would give the same result."""

    settings: PoolSearchSettings = PoolSearchSettings()
    control: bool = False
    """There is no training whose gain a control could show."""
    patience: int = 20
    """The number of trials in a row without a better score that end the search."""

    def stop_reason(self, proposals: Proposals, completions: Completions) -> str | None:
        num_subnets = self.space.num_subnets
        if len(proposals.searched) == num_subnets:
            return f"complete: all {num_subnets} subnets of the pool"
        return spent(self.max_trials, proposals) or converged(self.patience, completions)

    def propose(self, proposals: Proposals, completions: Completions) -> Proposal:
        earlier = proposals.searched
        rng = self.generator(trial_name(TrialRole.SEARCH, len(earlier)))
        parent, subnet = BASE_NAME, self.space.largest
        top = completions.ranking[: self.settings.top_k]
        if top:
            chosen = rank_sample(top, rng).proposal
            parent, subnet = chosen.name, _subnet(chosen)
        while earlier.find(self._take(subnet)) is not None:
            # A walk past known neighbours reaches any subnet.
            probability = self.settings.another_gene_probability
            subnet = mutate_subnet(subnet, self.space, rng, probability)
        return Proposal(
            role=TrialRole.SEARCH,
            number=len(earlier),
            parent=parent,
            change=self._take(subnet),
            teacher=None,
            seed=rng.getrandbits(31),
            completed_before=len(completions),
        )

    def _take(self, subnet: Subnet) -> TakeSubnet:
        return TakeSubnet(subnet=subnet, num_images=self.settings.num_images)


def _subnet(proposal: Proposal) -> Subnet:
    assert isinstance(proposal.change, TakeSubnet)  # this strategy proposes nothing else
    return proposal.change.subnet
