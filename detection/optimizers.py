"""The optimizer of a training: groups of parameters, and the learning rate of every step."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, AdamW, Optimizer

from detection.backbone_stages import parameter_stages
from searchd.spec import TrainingSpec

WARMUP_START = 0.001
"""Share of the learning rate at the start of a warm-up (mmdet's schedules)."""
MILESTONES = (2 / 3, 11 / 12)
"""Shares of the epochs after which the step schedule divides the learning rate by ten (8 and 11 of
12 epochs)."""

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGroup:
    """Parameters with the same learning rate and weight decay."""

    rate_factor: float
    """Factor of the learning rate."""
    weight_decay: float
    parameters: list[nn.Parameter] = field(default_factory=list)


class ScheduledOptimizer:
    """An optimizer and its learning rates.

    Attributes:
        optimizer: The optimizer; one of its groups for each of `groups`, in the same order.
        groups: The parameters.
        rate: The learning rate of the last step, before the factors of the groups.
    """

    def __init__(
        self,
        groups: list[ParameterGroup],
        spec: TrainingSpec,
        num_iterations: int,
        *,
        fused: bool = False,
    ) -> None:
        """
        Args:
            groups: The parameters.
            spec: Training settings.
            num_iterations: Iterations of one epoch.
            fused: Whether one kernel updates all parameters, which can skip a step by a flag on the
                device.
        """
        self.groups = groups
        self.rate = spec.learning_rate
        self._spec, self._num_iterations = spec, num_iterations
        self._fused = fused or None  # None, not False, leaves torch the choice of the others
        self.optimizer = _optimizer(groups, spec, self._fused)

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.groups for parameter in group.parameters]

    def set_rate(self, step: int) -> None:
        """Set the learning rates of a global step."""
        self.rate = learning_rate(self._spec, step, self._num_iterations)
        for group, target in zip(self.groups, self.optimizer.param_groups, strict=True):
            target["lr"] = self.rate * group.rate_factor

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of `optimizer`, which may have been another device's."""
        groups = [{**group, "fused": self._fused} for group in state["param_groups"]]
        self.optimizer.load_state_dict({**state, "param_groups": groups})


def parameter_groups(
    model: Any,
    adapters: Iterable[nn.Parameter],
    spec: TrainingSpec,
    excluded: Collection[int] = (),
) -> list[ParameterGroup]:
    """Group the trained parameters of a detector and of its adapters.

    With the default settings there is one group.

    Args:
        model: mmdet detector.
        adapters: Parameters of the distillation methods.
        spec: Training settings.
        excluded: Ids of parameters that another optimizer trains.

    Raises:
        InvalidValueError: `layer_decay` with a backbone whose stages are not known.
    """
    groups: dict[tuple[float, float], ParameterGroup] = {}

    def add(parameter: nn.Parameter, rate_factor: float, weight_decay: float) -> None:
        if not parameter.requires_grad or id(parameter) in excluded:
            return
        group = ParameterGroup(rate_factor=rate_factor, weight_decay=weight_decay)
        groups.setdefault((rate_factor, weight_decay), group).parameters.append(parameter)

    factors = _backbone_factors(model.backbone, spec)
    norms = _norms_and_biases(model)
    for parameter in model.parameters():
        decay = spec.norm_weight_decay if id(parameter) in norms else None
        add(
            parameter,
            factors.get(id(parameter), 1.0),
            spec.weight_decay if decay is None else decay,
        )
    for parameter in adapters:
        add(parameter, 1.0, spec.weight_decay)
    return list(groups.values())


def learning_rate(spec: TrainingSpec, step: int, num_iterations: int) -> float:
    """Return the learning rate of a global step (from 0) with `num_iterations` per epoch.

    A linear warm-up multiplies the schedule, as in mmdet.
    """
    done = step / (spec.epochs * num_iterations)
    if spec.schedule == "cosine":
        rate = spec.learning_rate * (1 + math.cos(math.pi * done)) / 2
    elif spec.schedule == "linear":
        rate = spec.learning_rate * (1 - done)
    else:
        epoch = step // num_iterations
        passed = sum(epoch >= round(share * spec.epochs) for share in MILESTONES)
        rate = spec.learning_rate * 0.1**passed
    if step < spec.warmup_iterations:
        rate *= WARMUP_START + (1 - WARMUP_START) * step / spec.warmup_iterations
    return rate


def with_batch_size(spec: TrainingSpec, batch_size: int, world_size: int) -> TrainingSpec:
    """Return the settings with a number as batch size, and the learning rate scaled for it.

    Args:
        spec: Training settings.
        batch_size: Images per step and device.
        world_size: Number of devices.
    """
    rate = spec.learning_rate
    if spec.base_batch_size is not None:
        rate *= batch_size * world_size / spec.base_batch_size
    return spec.model_copy(update={"batch_size": batch_size, "learning_rate": rate})


def _optimizer(groups: list[ParameterGroup], spec: TrainingSpec, fused: bool | None) -> Optimizer:
    of_groups = [
        {"params": group.parameters, "weight_decay": group.weight_decay} for group in groups
    ]
    if spec.optimizer == "adamw":
        return AdamW(of_groups, lr=spec.learning_rate, betas=spec.betas, fused=fused)
    return SGD(of_groups, lr=spec.learning_rate, momentum=spec.momentum, fused=fused)


def _backbone_factors(backbone: nn.Module, spec: TrainingSpec) -> dict[int, float]:
    """Return the factor of the learning rate of each parameter of the backbone, by its id.

    With a decay, stage s of n has it n + 1 - s times, so that the stem (s = 0) has it n + 1 times,
    as in mmdet's stage-wise LearningRateDecayOptimizerConstructor.
    """
    factor = spec.backbone_learning_rate_factor
    if spec.layer_decay == 1:
        return {id(parameter): factor for parameter in backbone.parameters()}
    stages = parameter_stages(backbone)
    top = max(stages.values()) + 1
    return {
        id(parameter): factor * spec.layer_decay ** (top - stages[name])
        for name, parameter in backbone.named_parameters()
    }


def _norms_and_biases(model: nn.Module) -> set[int]:
    """Return the ids of the parameters of normalisation layers, and of all biases."""
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, _NORMS)
        for parameter in module.parameters(recurse=False)
    }
    return norms | {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
