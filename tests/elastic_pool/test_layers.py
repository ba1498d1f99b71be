"""Elastic layers as what they are built from; BN over several workers (SyncBN)."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from elastic_pool.layers import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear
from tests.detection.two_processes import run_in_two_processes

pytestmark = pytest.mark.timeout(60)  # several processes, which import torch each


def test_convolution_computes_leading_outputs_from_leading_inputs() -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1)
    elastic = ElasticConv2d.of(conv)
    elastic.active_out_channels = 5
    x = torch.randn(2, 3, 8, 8)
    padded = torch.cat([x, torch.zeros(2, 1, 8, 8)], dim=1)
    torch.testing.assert_close(elastic(x), conv(padded)[:, :5])
    assert elastic.weight is conv.weight


def test_linear_layer_reads_leading_inputs() -> None:
    linear = nn.Linear(4, 6)
    x = torch.randn(2, 3)
    padded = torch.cat([x, torch.zeros(2, 1)], dim=1)
    torch.testing.assert_close(ElasticLinear.of(linear)(x), linear(padded))


def test_batch_norm_equals_the_plain_one_and_follows_its_statistics() -> None:
    plain = nn.BatchNorm2d(4)
    elastic = ElasticBatchNorm2d.of(nn.BatchNorm2d(4))
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(elastic(x), plain(x))
    torch.testing.assert_close(elastic.running_var, plain.running_var)
    torch.testing.assert_close(elastic.eval()(x[:, :2]), plain.eval()(x)[:, :2])


def test_batch_norm_of_two_workers_equals_one_with_both_batches(tmp_path: Path) -> None:
    """Outputs, gradients and running statistics; the workers' batches differ in size."""
    x = torch.randn(6, 4, 5, 5).double()
    torch.save(x, tmp_path / "x.pt")
    run_in_two_processes(_normalise_part, tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]

    bn = nn.BatchNorm2d(4).double()
    x.requires_grad_()
    output = bn(x)
    _loss(output).backward()
    torch.testing.assert_close(torch.cat([part["output"] for part in parts]), output.detach())
    torch.testing.assert_close(torch.cat([part["x_grad"] for part in parts]), x.grad)
    torch.testing.assert_close(sum(part["weight_grad"] for part in parts), bn.weight.grad)
    for part in parts:
        torch.testing.assert_close(part["running_mean"], bn.running_mean)
        torch.testing.assert_close(part["running_var"], bn.running_var)


def _normalise_part(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    x = torch.load(folder / "x.pt")
    x = (x[:2], x[2:])[rank].requires_grad_()
    bn = ElasticBatchNorm2d.of(nn.BatchNorm2d(4).double())
    output = bn(x)
    _loss(output).backward()
    found = {
        "output": output.detach(),
        "x_grad": x.grad,
        "weight_grad": bn.weight.grad,
        "running_mean": bn.running_mean,
        "running_var": bn.running_var,
    }
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_batch_norm_of_two_workers_sums_in_32_bits(tmp_path: Path) -> None:
    """As torch does for one: in 16 bits the variance around a mean of 30 would be lost."""
    x = (torch.randn(6, 4, 5, 5) + 30).bfloat16()
    torch.save(x, tmp_path / "x.pt")
    run_in_two_processes(_normalise_low_precision, tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]

    expected = nn.BatchNorm2d(4)(x)

    assert expected.dtype == parts[0].dtype == torch.bfloat16
    torch.testing.assert_close(torch.cat(parts), expected, rtol=0.01, atol=0.02)


def _normalise_low_precision(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    x = torch.load(folder / "x.pt")
    output = ElasticBatchNorm2d.of(nn.BatchNorm2d(4))((x[:2], x[2:])[rank])
    torch.save(output.detach(), folder / f"{rank}.pt")
    dist.destroy_process_group()


def _loss(output: Tensor) -> Tensor:
    return (output**3).sum()
