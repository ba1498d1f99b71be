"""What a worker tells torch before it does a task."""

import pytest
import torch

from searchd.messages.tasks import ComputeSettings, gpu_memory_of
from workers.torch_settings import configure_torch


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The shares of a GPU's memory that torch is told."""
    told: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", told.append)
    return told


def test_a_process_with_half_a_gpu_is_limited_to_half_its_memory(limits: list[float]) -> None:
    configure_torch(ComputeSettings(device="cuda", gpu_memory=0.5))
    assert limits == [0.5]


def test_a_process_that_had_a_share_before_may_use_a_whole_gpu_again(limits: list[float]) -> None:
    configure_torch(ComputeSettings(device="cuda", gpu_memory=0.5))
    configure_torch(ComputeSettings(device="cuda"))
    assert limits == [0.5, 1.0]


def test_a_process_on_cpus_does_not_touch_a_gpu(limits: list[float]) -> None:
    configure_torch(ComputeSettings())
    assert limits == []


@pytest.mark.parametrize(
    ("gpus", "limited", "share"),
    [(0.5, True, 0.5), (0.5, False, 1), (1, True, 1), (0, True, 1)],
)
def test_the_share_of_the_memory_is_that_of_the_gpu(
    gpus: float, limited: bool, share: float
) -> None:
    assert gpu_memory_of(gpus, limited=limited) == share
