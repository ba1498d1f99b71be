"""A batch size is found by memory: tried on a GPU, estimated on a CPU."""

from typing import Any

import pytest
import torch
from torch import nn

from detection import batch_size
from detection.batch_size import FoundBatchSize, available_bytes, find_batch_size

MIB = 2**20
NETWORK = nn.Linear(1024, 256)


def probe(num_images: int) -> None:
    """A step that keeps 1 MiB per image, and its weights, for the backward pass."""
    x = torch.ones(num_images * 256, 1024, requires_grad=True)
    NETWORK(x).sum().backward()


def found_on_cpu(monkeypatch: pytest.MonkeyPatch, free: int, **values: Any) -> FoundBatchSize:
    monkeypatch.setattr(batch_size, "available_bytes", lambda: free)
    return find_batch_size(
        probe,
        NETWORK.parameters(),
        "cpu",
        **{"num_images": 1000, "optimizer_bytes": 0, **values},
    )


def test_on_a_cpu_the_batch_fits_into_90_percent_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = found_on_cpu(monkeypatch, 10 * MIB)

    assert found.number == 4  # 2 MiB per image, 1 MiB of them for gradients and workspaces
    assert found.reason == "an image is estimated to need 2 MiB of 9 MiB"


def test_on_a_cpu_the_optimizer_takes_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_on_cpu(monkeypatch, 10 * MIB, optimizer_bytes=4 * MIB).number == 2


def test_at_least_one_image_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_on_cpu(monkeypatch, 0).number == 1


def test_a_batch_on_a_cpu_has_at_most_8_images_and_a_small_set_at_least_16_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert found_on_cpu(monkeypatch, 1000 * MIB).number == 8
    assert found_on_cpu(monkeypatch, 1000 * MIB, num_images=50).number == 3
    small = found_on_cpu(monkeypatch, 1000 * MIB, num_images=5)
    assert small.number == 1
    assert small.reason.endswith("; more than 1 is not used for this data set on this device")


def test_free_memory_is_shared_by_threads_and_bounded_by_the_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    limit, usage = tmp_path / "memory.max", tmp_path / "memory.current"
    limit.write_text(f"{300 * MIB}\n")
    usage.write_text(f"{100 * MIB}\n")
    monkeypatch.setattr(batch_size, "_LIMIT", limit)
    monkeypatch.setattr(batch_size, "_USAGE", usage)
    monkeypatch.setattr("os.cpu_count", lambda: 4 * torch.get_num_threads())

    assert available_bytes() == 50 * MIB

    limit.write_text("max\n")
    assert available_bytes() > 0


class Gpu:
    """The memory of a GPU: what a step of some images reserves, and where it ends."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, total: int, in_use: int, *, share: float = 1.0
    ) -> None:
        self.total, self.in_use, self.peak = total, in_use, in_use
        self.steps: list[int] = []
        for name in ("empty_cache", "reset_peak_memory_stats"):
            monkeypatch.setattr(torch.cuda, name, lambda *_: None)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: self.in_use)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: self.peak)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (total - in_use, total))
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda _: share)

    def step(self, num_images: int) -> None:
        self.steps.append(num_images)
        self.peak = self.in_use + 100 * MIB * num_images
        if self.peak > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def found(self, **values: Any) -> FoundBatchSize:
        given = {"num_images": 10_000, "optimizer_bytes": 0, **values}
        return find_batch_size(self.step, (), "cuda", **given)


def test_on_a_gpu_the_batch_doubles_until_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch, total=1000 * MIB, in_use=50 * MIB)

    found = gpu.found()

    assert found.number == 8
    assert gpu.steps == [1, 2, 4, 8, 16]
    assert found.reason == "a step of 8 images needs 800 MiB of 850 MiB"


def test_on_a_gpu_a_tenth_of_the_memory_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch, total=1000 * MIB, in_use=150 * MIB)

    assert gpu.found().number == 4  # 8 fit, but leave only 50 MiB
    assert Gpu(monkeypatch, 1000 * MIB, 50 * MIB).found(optimizer_bytes=100 * MIB).number == 4


def test_a_process_with_half_a_gpu_finds_a_batch_for_half_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu(monkeypatch, total=1000 * MIB, in_use=0, share=0.5)

    found = gpu.found()

    assert found.number == 4
    assert found.reason == "a step of 4 images needs 400 MiB of 450 MiB"


def test_on_a_gpu_more_than_64_images_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch, total=100_000 * MIB, in_use=0)

    assert gpu.found().number == 64
    assert gpu.found(num_images=100).number == 4


def test_on_a_gpu_that_is_too_small_for_one_image_the_error_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Gpu(monkeypatch, total=50 * MIB, in_use=0).found()
