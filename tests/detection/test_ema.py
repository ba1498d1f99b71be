"""The average of the weights follows mmdet's formula and is what is evaluated."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from detection.ema import AveragedWeights
from searchd.spec import EmaSpec


def network(weight: float) -> Any:
    model: Any = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1, bias=False))
    nn.init.constant_(model[1].weight, weight)
    return model


def set_to(model: Any, value: float) -> None:
    nn.init.constant_(model[1].weight, value)
    model[0].running_mean.fill_(value)
    model[0].num_batches_tracked.fill_(int(value))


def averages(spec: EmaSpec, *values: float) -> list[float]:
    model = network(0.0)
    average = AveragedWeights(model, spec)
    found = []
    for value in values:
        set_to(model, value)
        average.update(model)
        found.append(float(average.model[1].weight.detach()))
        assert float(average.model[0].running_mean) == pytest.approx(found[-1])
    return found


def test_the_first_step_is_taken_over_and_later_ones_are_averaged_in() -> None:
    assert averages(EmaSpec(decay=0.9, warmup=0), 1.0, 2.0, 3.0) == pytest.approx(
        [1.0, 0.9 * 1 + 0.1 * 2, 0.9 * 1.1 + 0.1 * 3]
    )


def test_the_share_that_is_kept_rises_during_the_warm_up() -> None:
    kept = 0.9 * (1 - math.exp(-2 / 4))  # mmdet's formula at its second update

    found = averages(EmaSpec(decay=0.9, warmup=4), 1.0, 2.0)

    assert found == pytest.approx([1.0, kept * 1 + (1 - kept) * 2])


def test_the_average_is_a_copy_in_eval_mode_that_needs_no_gradients() -> None:
    model = network(5.0).train()
    average = AveragedWeights(model, EmaSpec())

    set_to(model, 7.0)

    assert float(average.model[1].weight) == 5.0
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_an_average_continues_from_a_stored_one_to_the_bit() -> None:
    def trained(values: list[float], average: AveragedWeights, model: Any) -> torch.Tensor:
        for value in values:
            set_to(model, value)
            average.update(model)
        found: torch.Tensor = average.model[1].weight.clone()
        return found

    model = network(0.0)
    straight = trained([1.0, 2.5, 3.1, 4.7], AveragedWeights(model, EmaSpec(warmup=3)), model)
    first = AveragedWeights(model, EmaSpec(warmup=3))
    trained([1.0, 2.5], first, model)

    second = AveragedWeights(network(9.0), EmaSpec(warmup=3))
    second.load_state_dict(first.state_dict())

    assert torch.equal(trained([3.1, 4.7], second, model), straight)
