"""Copies the teacher's RPN and RoI head into the student. G-DetKD section 4.3.1 and appendix A,
docs/papers.md 3.3."""

from typing import Any

from torch import nn

from detection.distillation.method import MethodWithoutOptions, Preparation


class HeadTransfer(Preparation, MethodWithoutOptions):
    """Copies the heads before the training and freezes them (docs/papers.md 3.3).

    Backbone and neck are trained for the teacher's heads. It adds no loss.
    """

    def prepare(self, student: nn.Module, teacher: nn.Module) -> tuple[nn.Module, ...]:
        """Copy and freeze the heads; see `DistillationMethod.prepare`.

        Raises:
            RuntimeError: The heads differ in shape. The catalogue refuses such pairs beforehand.
        """
        return tuple(_transfer(student, teacher, part) for part in ("rpn_head", "roi_head"))


def _transfer(student: Any, teacher: Any, part: str) -> nn.Module:
    copy: nn.Module = getattr(student, part)
    copy.load_state_dict(getattr(teacher, part).state_dict())
    return copy.requires_grad_(False).eval()
