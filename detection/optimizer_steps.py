"""Takes the steps of a training's optimizers, unless a loss or a gradient is not finite."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from detection.distillation.method import OwnOptimizer
from detection.iteration import StepValues
from detection.mixed_precision import MixedPrecision
from detection.optimizers import ScheduledOptimizer


class OptimizerSteps:
    """The steps of the student's optimizer and of those of distillation methods.

    What is not finite must not change a weight. On a CPU the values are read before the step. A GPU
    would idle meanwhile, so there the optimizers are told, by a flag on the device, to skip the
    step and all that follow; the values are read later.
    """

    def __init__(
        self,
        student: ScheduledOptimizer,
        own: Mapping[str, OwnOptimizer],
        precision: MixedPrecision,
        *,
        max_grad_norm: float,
    ) -> None:
        """
        Args:
            student: The student's optimizer, with its adapters'.
            own: The methods' own optimizers, by method.
            precision: The precision, with the scale of the loss.
            max_grad_norm: The student's gradients are clipped to this norm.
        """
        self._student, self._own, self._precision = student, own, precision
        self._max_grad_norm = max_grad_norm
        self.may_defer = all(_can_skip(optimizer) for optimizer in self._optimizers())
        """Whether all optimizers can skip a step by a flag on the device."""
        self._failed: Tensor | None = None

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """All that is trained."""
        return (*self._student.parameters, *(p for o in self._own.values() for p in o.parameters))

    def take(
        self,
        step: int,
        losses: Mapping[str, Tensor],
        figures: Mapping[str, Tensor],
        *,
        trains_student: bool = True,
    ) -> StepValues:
        """Compute gradients, clip them, and take the step.

        Args:
            step: The global step, from 0.
            losses: Scalars by name.
            figures: Scalars by name that are recorded with the losses, and are none.
            trains_student: Whether the student's optimizer takes a step too.

        Returns:
            The losses, their sum `loss`, and the figures.

        Raises:
            NonFiniteLossError: A value is not finite, and it was read before the step.
        """
        summed = torch.stack(list(losses.values())).sum()
        values = StepValues(step, {**losses, "loss": summed, **figures})
        if not self.may_defer:
            values.check()
        self._backward(summed)
        self._check_gradients(values, self._clip(student=trains_student))
        if trains_student:
            self._precision.step(self._student.optimizer)
        for own in self._own.values():
            own.step(self._precision.step)
        self._precision.update()
        return values

    def _backward(self, loss: Tensor) -> None:
        for optimizer in self._optimizers():
            optimizer.zero_grad()
        self._precision.backward(loss)

    def _clip(self, *, student: bool) -> dict[str, Tensor]:
        """Clip the gradients, and return their norms from before."""
        norms: dict[str, Tensor] = {}
        if student:
            self._precision.unscale([self._student.optimizer])
            parameters = self._student.parameters
            norms["gradient_norm"] = clip_grad_norm_(parameters, self._max_grad_norm)
        self._precision.unscale(own.optimizer for own in self._own.values())
        return norms | {f"{name}.gradient_norm": own.clip() for name, own in self._own.items()}

    def _check_gradients(self, values: StepValues, norms: Mapping[str, Tensor]) -> None:
        if self._precision.may_skip_steps:
            return
        if norms:
            values.add_norms(norms)
        if not self.may_defer:
            values.check()
            return
        failed = (~values.are_finite()).float()
        self._failed = failed if self._failed is None else torch.maximum(self._failed, failed)
        for optimizer in self._optimizers():
            optimizer.found_inf = self._failed  # type: ignore[attr-defined] # fused ones read it

    def _optimizers(self) -> tuple[Optimizer, ...]:
        return (self._student.optimizer, *(own.optimizer for own in self._own.values()))


def _can_skip(optimizer: Optimizer) -> bool:
    return bool(optimizer.defaults.get("fused"))
