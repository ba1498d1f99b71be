"""The queue keeps the newest vectors, first in, first out."""

import io

import pytest
import torch
from torch import Tensor

from detection.distillation.memory_queue import MemoryQueue


def numbered(*numbers: float) -> Tensor:
    """One-dimensional vectors."""
    return torch.tensor(numbers)[:, None]


def content(queue: MemoryQueue) -> list[float]:
    return queue.filled[:, 0].tolist()


def test_only_the_filled_part_is_used() -> None:
    queue = MemoryQueue(5, 1)
    assert content(queue) == []

    queue.push(numbered(1, 2))
    assert content(queue) == [2, 1]
    queue.push(numbered(3))
    assert content(queue) == [3, 2, 1]


def test_oldest_leave_when_it_is_full() -> None:
    queue = MemoryQueue(4, 1)

    for start in range(0, 30, 3):
        queue.push(numbered(start, start + 1, start + 2))

    assert content(queue) == [29, 28, 27, 26]
    assert queue.vectors.shape == (4, 1)


def test_more_than_its_size_at_once_leaves_the_newest() -> None:
    queue = MemoryQueue(3, 1)
    queue.push(numbered(1))

    queue.push(numbered(2, 3, 4, 5, 6))

    assert content(queue) == [6, 5, 4]


def test_nothing_pushed_changes_nothing() -> None:
    queue = MemoryQueue(3, 1)
    queue.push(numbered(1, 2))

    queue.push(torch.zeros(0, 1))

    assert content(queue) == [2, 1]


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_queue_of_size_zero_stays_empty(rows: int) -> None:
    queue = MemoryQueue(0, 2)

    queue.push(torch.ones(rows, 2))

    assert queue.filled.shape == (0, 2)


def test_vectors_are_kept_without_gradient() -> None:
    queue = MemoryQueue(3, 1)
    weight = torch.ones(2, 1, requires_grad=True)

    queue.push(2 * weight)

    assert not queue.filled.requires_grad
    assert not list(queue.parameters())


def test_what_was_read_before_a_push_may_still_be_differentiated() -> None:
    queue = MemoryQueue(2, 1)
    queue.push(numbered(3, 5))
    weight = torch.ones(1, requires_grad=True)
    loss = (queue.filled * weight).sum()

    queue.push(numbered(100, 100))
    loss.backward()

    assert weight.grad is not None
    assert weight.grad.tolist() == [8]


def test_content_is_a_buffer_that_is_not_handed_on() -> None:
    queue = MemoryQueue(2, 1)
    queue.push(numbered(1, 2, 3))

    assert queue.state_dict() == {}
    assert set(dict(queue.named_buffers())) == {"vectors", "num_filled"}


def test_stored_queue_is_as_large_as_its_vectors() -> None:
    queue = MemoryQueue(1000, 4)
    queue.push(torch.ones(900, 4))
    file = io.BytesIO()

    torch.save(queue.vectors, file)

    assert len(file.getvalue()) < 1.2 * 1000 * 4 * 4
