"""The methods of a trial as a value, and the edits that change them."""

import pytest
from pydantic import TypeAdapter

from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_set import MethodSet, MutateMethods, WeightedMethod
from searchd.domain.trial import Change, describe_change

CWD = WeightedMethod(name=MethodName.CWD, weight=5.0)
SGFI = WeightedMethod(name=MethodName.SGFI, weight=1.0)
PKD = WeightedMethod(name=MethodName.PKD, weight=6.0)
INHERITING = WeightedMethod(name=MethodName.INHERITING, weight=None)


def methods(*each: WeightedMethod) -> MethodSet:
    return MethodSet(methods=each)


def test_methods_are_equal_in_any_order_and_read_as_text() -> None:
    assert methods(CWD, INHERITING, SGFI) == methods(SGFI, CWD, INHERITING)
    assert hash(methods(CWD, SGFI)) == hash(methods(SGFI, CWD))
    assert str(methods(CWD, INHERITING, SGFI)) == "sgfi 1, inheriting, cwd 5"


@pytest.mark.parametrize(
    ("name", "weight", "message"),
    [
        (MethodName.CWD, None, "cwd needs a weight above 0, got weight=None"),
        (MethodName.CWD, 0.0, "cwd needs a weight above 0, got weight=0.0"),
        (MethodName.INHERITING, 1.0, "inheriting needs no weight, since it has no loss"),
    ],
)
def test_a_weight_belongs_to_a_loss(name: MethodName, weight: float | None, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        WeightedMethod(name=name, weight=weight)


def test_methods_are_named_once_and_one_has_a_loss() -> None:
    with pytest.raises(InvalidValueError, match="named once each, got cwd 5, cwd 5"):
        methods(CWD, CWD)
    with pytest.raises(InvalidValueError, match=r"methods must have a loss, got \(inheriting\)"):
        methods(INHERITING)


@pytest.mark.parametrize(
    ("edit", "made", "text"),
    [
        (MutateMethods(added=PKD), methods(CWD, SGFI, PKD), "methods: add pkd 6"),
        (MutateMethods(removed=MethodName.CWD), methods(SGFI), "methods: remove cwd"),
        (
            MutateMethods(added=PKD, removed=MethodName.CWD),
            methods(SGFI, PKD),
            "methods: pkd 6 instead of cwd",
        ),
        (
            MutateMethods(
                added=WeightedMethod(name=MethodName.CWD, weight=2.5), removed=MethodName.CWD
            ),
            methods(SGFI, WeightedMethod(name=MethodName.CWD, weight=2.5)),
            "methods: cwd with weight 2.5",
        ),
    ],
)
def test_an_edit_changes_one_method(edit: MutateMethods, made: MethodSet, text: str) -> None:
    assert edit.applied_to(methods(CWD, SGFI)) == made
    assert describe_change(edit) == text
    adapter: TypeAdapter[Change] = TypeAdapter(Change)
    assert adapter.validate_json(adapter.dump_json(edit)) == edit


def test_an_edit_that_does_not_apply_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="pkd is not one of the methods sgfi 1, cwd 5"):
        MutateMethods(removed=MethodName.PKD).applied_to(methods(CWD, SGFI))
    with pytest.raises(InvalidValueError, match="must have a loss"):
        MutateMethods(removed=MethodName.CWD).applied_to(methods(CWD, INHERITING))
    with pytest.raises(InvalidValueError, match="adds or removes one"):
        MutateMethods()
