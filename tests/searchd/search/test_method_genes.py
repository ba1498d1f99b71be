"""Which edits of a trial's methods are legal, and how they are drawn."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchd.domain.distillation_methods import MethodName
from searchd.domain.method_set import MethodSet, MutateMethods, WeightedMethod
from searchd.search.method_genes import MethodEdit, MethodGenes
from tests.strength import examples

SGFI = WeightedMethod(name=MethodName.SGFI, weight=1.0)
CKD = WeightedMethod(name=MethodName.CKD, weight=1.0)
CWD = WeightedMethod(name=MethodName.CWD, weight=5.0)
FGD = WeightedMethod(name=MethodName.FGD, weight=1.0)
INHERITING = WeightedMethod(name=MethodName.INHERITING, weight=None)
GENES = MethodGenes(
    start=MethodSet(methods=(SGFI,)),
    allowed=(SGFI, CKD, CWD, FGD, INHERITING),
    factors=(0.5, 1.0, 2.0),
    max_methods=2,
    probability=0.5,
)


def legal(*methods: WeightedMethod, genes: MethodGenes = GENES) -> dict[MethodEdit, set[str]]:
    found = genes.legal(MethodSet(methods=methods))
    return {kind: {str(edit) for edit in edits} for kind, edits in found.items()}


def test_every_legal_edit_of_one_method_is_there() -> None:
    """Not removed: it is the only one with a loss, and `inheriting` teaches nothing by itself."""
    assert legal(SGFI) == {
        MethodEdit.ADD: {
            "methods: add ckd 1",
            "methods: add cwd 5",
            "methods: add fgd 1",
            "methods: add inheriting",
        },
        MethodEdit.SWAP: {
            "methods: ckd 1 instead of sgfi",
            "methods: cwd 5 instead of sgfi",
            "methods: fgd 1 instead of sgfi",
        },
        MethodEdit.SCALE: {"methods: sgfi with weight 0.5", "methods: sgfi with weight 2"},
    }


def test_no_method_is_added_to_the_most_and_inheriting_is_not_counted_nor_removed() -> None:
    full = legal(SGFI, CKD, INHERITING)
    assert full.keys() == {MethodEdit.REMOVE, MethodEdit.SWAP, MethodEdit.SCALE}
    assert full[MethodEdit.REMOVE] == {"methods: remove sgfi", "methods: remove ckd"}
    assert full[MethodEdit.SWAP] == {
        "methods: cwd 5 instead of sgfi",
        "methods: cwd 5 instead of ckd",
        "methods: fgd 1 instead of sgfi",
        "methods: fgd 1 instead of ckd",
    }
    assert "methods: add inheriting" in legal(SGFI, CKD)[MethodEdit.ADD]


def test_a_weight_changes_to_another_multiple_of_the_methods_own() -> None:
    doubled = WeightedMethod(name=MethodName.CWD, weight=10.0)
    assert legal(doubled)[MethodEdit.SCALE] == {
        "methods: cwd with weight 2.5",
        "methods: cwd with weight 5",
    }
    assert MethodEdit.SCALE not in legal(CWD, genes=replace(GENES, factors=(1.0,)))


def test_nothing_is_drawn_where_nothing_is_legal() -> None:
    alone = replace(GENES, allowed=(SGFI,), factors=(1.0,))
    assert alone.draw(GENES.start, random.Random(0)) is None


def test_every_kind_of_edit_is_drawn_equally_often() -> None:
    methods, kinds = MethodSet(methods=(SGFI,)), Counter[MethodEdit]()
    for seed in range(600):
        edit = GENES.draw(methods, random.Random(seed))
        kinds.update(kind for kind, edits in GENES.legal(methods).items() if edit in edits)
    assert kinds.keys() == {MethodEdit.ADD, MethodEdit.SWAP, MethodEdit.SCALE}
    assert [share / 600 for share in kinds.values()] == pytest.approx([1 / 3] * 3, abs=0.06)


@settings(max_examples=examples(60, 1000), deadline=None)
@given(
    seed=st.integers(0, 2**31),
    most=st.integers(1, 4),
    factors=st.sampled_from([(1.0,), (0.5, 1.0, 2.0), (0.25, 0.5, 1.0, 2.0, 4.0)]),
)
def test_a_lineage_of_edits_stays_within_what_trials_may_have(
    seed: int, most: int, factors: tuple[float, ...]
) -> None:
    genes = replace(GENES, max_methods=most, factors=factors)
    weights = {each.name: each.weight for each in genes.allowed}
    methods, rng, again = genes.start, random.Random(seed), random.Random(seed)
    for _ in range(12):
        edit = genes.draw(methods, rng)
        assert isinstance(edit, MutateMethods)
        assert edit == genes.draw(methods, again)
        child = edit.applied_to(methods)
        assert child != methods
        assert 1 <= child.num_losses <= most
        assert methods.weights.keys() - child.weights.keys() <= {edit.removed}
        assert MethodName.INHERITING in child.weights or MethodName.INHERITING not in (
            methods.weights
        )
        for name, weight in child.weights.items():
            own = weights[name]
            assert weight is None if own is None else weight in [own * each for each in factors]
        methods = child
