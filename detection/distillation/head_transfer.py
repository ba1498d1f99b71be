"""The student's RPN and RoI head are the teacher's. G-DetKD section 4.3.1 and appendix A,
docs/papers.md 3.3."""

from typing import Any

from torch import nn

from detection.distillation.method import Preparation


class HeadTransfer(Preparation):
    """Copied before the training and frozen throughout (docs/papers.md 3.3); backbone and neck
    learn to serve the teacher's head. It adds no loss."""

    def prepare(self, student: nn.Module, teacher: nn.Module) -> tuple[nn.Module, ...]:
        """Copy and freeze; see `DistillationMethod.prepare`.

        Raises:
            RuntimeError: The heads differ in shape, which the catalogue refuses beforehand.
        """
        return tuple(_transfer(student, teacher, part) for part in ("rpn_head", "roi_head"))


def _transfer(student: Any, teacher: Any, part: str) -> nn.Module:
    copy: nn.Module = getattr(student, part)
    copy.load_state_dict(getattr(teacher, part).state_dict())
    return copy.requires_grad_(False).eval()
