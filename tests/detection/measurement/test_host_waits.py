"""Operations that make the CPU wait for a GPU are counted on any device, at their place."""

from collections.abc import Callable

import pytest
import torch

from detection.measurement.host_waits import counted_waits

VALUES = torch.tensor([3.0, 1.0, 2.0])
MASK = VALUES > 1.5


@pytest.mark.parametrize(
    ("work", "operation"),
    [
        (lambda: VALUES.sum().item(), "item"),
        (lambda: float(VALUES[0]), "item"),
        (lambda: bool(MASK.any()), "item"),
        (lambda: torch.nonzero(MASK), "nonzero"),
        (lambda: VALUES[MASK], "boolean index"),
        (lambda: VALUES.clone().index_put_((MASK,), torch.ones(2)), "boolean index"),
        (lambda: VALUES.masked_select(MASK), "masked_select"),
        (lambda: VALUES.unique(), "unique"),
        (lambda: VALUES.tolist(), "copy to the host"),
        (lambda: VALUES.cpu(), "copy to the host"),
        (lambda: VALUES.new_tensor([1.0]), "copy to the device"),
        (lambda: torch.tensor([1.0], device=VALUES.device), "copy to the device"),
        (lambda: torch.arange(3).repeat_interleave(torch.tensor([1, 0, 2])), "repeat_interleave"),
    ],
)
def test_an_operation_that_waits_is_counted(work: Callable[[], object], operation: str) -> None:
    with counted_waits() as found:
        work()

    assert [(wait.operation, number) for wait, number in found.items()] == [(operation, 1)]
    assert next(iter(found)).place.startswith("tests/detection/measurement/test_host_waits.py:")


def test_work_that_stays_on_the_device_is_not_counted() -> None:
    with counted_waits() as found:
        chosen = VALUES[torch.tensor([0, 2])]
        filled = VALUES.clone()
        filled[MASK] = 0.0  # a fill by mask needs no indices
        torch.where(MASK, filled, 1.0).sort()
        torch.nonzero_static(MASK, size=2)
        (VALUES.clone().requires_grad_() * chosen.sum()).sum().backward()

    assert not found


def test_a_backward_pass_is_counted_too() -> None:
    x = VALUES.clone().requires_grad_()
    loss = x[MASK].sum()

    with counted_waits() as found:
        loss.backward()

    assert [wait.operation for wait in found] == ["boolean index"]
