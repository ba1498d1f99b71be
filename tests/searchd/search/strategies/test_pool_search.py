"""Search of the pool itself: which subnets are taken, in which order."""

import random
from dataclasses import replace

from searchd.domain.subnet import Subnet, SubnetSpace, genes
from searchd.domain.trial import Proposal, TakeSubnet
from searchd.search.ask_tell import AskTell
from searchd.search.history import ranking, search_trials
from searchd.search.strategies.pool_search import PoolSearch, PoolSearchSettings
from tests.searchd.search.scripted import SPACE, ask, run, with_base

STRATEGY = PoolSearch(space=SPACE, seed=7, max_trials=100, patience=100)
FEW = SubnetSpace(
    depths=((1, 2),) * 2 + ((1,),) * 2,
    widths=((1.0, 1.5),) + ((1.0,),) * 3,
    neck_channels=(16,),
    num_resolutions=3,
)


def subnet(proposal: Proposal) -> Subnet:
    assert isinstance(proposal.change, TakeSubnet)
    return proposal.change.subnet


def subnets(ask_tell: AskTell) -> list[Subnet]:
    return [subnet(p) for p in search_trials(ask_tell.proposals)]


def small_genes(proposal: Proposal) -> float:
    """How many genes have their smallest value; 9 is the optimum."""
    found = genes(subnet(proposal))
    return float(sum(found[gene] == value for gene, value in genes(SPACE.smallest).items()))


def test_first_is_the_largest_subnet_and_no_trial_has_a_teacher() -> None:
    ask_tell = with_base(STRATEGY)
    first, second = ask(ask_tell), ask(ask_tell)
    assert (first.parent, first.change) == ("base", TakeSubnet(subnet=SPACE.largest))
    assert second.parent == "base"  # nothing has succeeded yet
    assert subnet(second) != SPACE.largest
    assert {first.teacher, second.teacher} == {None}


def test_hill_climbing_finds_the_best_subnet_without_trying_all() -> None:
    ask_tell = with_base(STRATEGY)
    run(ask_tell, small_genes, in_flight=2, order=random.Random(1))
    best = ranking(ask_tell.completions)[0].proposal
    assert subnet(best) == SPACE.smallest
    assert SPACE.size == 512  # of which 100 were tried


def test_parent_is_the_trial_whose_subnet_was_mutated() -> None:
    ask_tell = with_base(
        replace(STRATEGY, settings=PoolSearchSettings(another_gene_probability=0.0), max_trials=20)
    )
    run(ask_tell, small_genes, in_flight=1, order=random.Random(1))
    by_name = {p.name: p for p in ask_tell.proposals}
    distances = []
    for proposal in search_trials(ask_tell.proposals)[1:]:
        assert proposal.parent is not None
        before, after = genes(subnet(by_name[proposal.parent])), genes(subnet(proposal))
        distances.append(sum(before[gene] != value for gene, value in after.items()))
    assert min(distances) == 1
    assert sorted(distances)[len(distances) // 2] == 1  # more only where neighbours were known


def test_no_subnet_is_taken_twice_also_when_it_failed() -> None:
    ask_tell = with_base(STRATEGY)

    def small_fail(proposal: Proposal) -> float | None:
        score = small_genes(proposal)
        return None if score > 5 else score

    run(ask_tell, small_fail, in_flight=4, order=random.Random(1))
    taken = subnets(ask_tell)
    assert len(set(taken)) == len(taken) == 100


def test_it_ends_when_every_subnet_was_taken() -> None:
    ask_tell = with_base(replace(STRATEGY, space=FEW))
    finished = run(ask_tell, lambda p: -p.number, in_flight=1, order=random.Random(1))
    assert finished.reason == "complete: all 8 subnets of the pool"
    assert set(subnets(ask_tell)) == set(FEW.subnets())


def test_it_converges_after_patience_trials_without_a_better_score_and_has_no_controls() -> None:
    ask_tell = with_base(replace(STRATEGY, patience=4))
    finished = run(ask_tell, lambda _: 0.5, in_flight=1, order=random.Random(1))
    assert finished.reason == "converged: 4 trials in a row without a better score"
    assert [p.name for p in ask_tell.proposals] == ["base", "0", "1", "2", "3", "4"]


def test_subnets_are_compared_by_the_images_of_the_settings_and_taken_once() -> None:
    screening = replace(STRATEGY, settings=PoolSearchSettings(num_images=64), max_trials=40)
    ask_tell = with_base(screening)

    run(ask_tell, small_genes, in_flight=2, order=random.Random(1))

    changes = [trial.change for trial in search_trials(ask_tell.proposals)]
    assert {change.num_images for change in changes if isinstance(change, TakeSubnet)} == {64}
    assert len(set(subnets(ask_tell))) == 40
