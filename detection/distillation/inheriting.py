"""The inheriting strategy: copies neck and head of a student's first teacher. ICD appendix B;
docs/papers.md 4.4 and 2.6.

It has no loss. It acts once in a student's lineage, with the first teacher, and records that beside
the adapters, which the student's children inherit.

The paper copies "when shapes match", and a neck that was trained with another backbone reads the
student's. By default the convolutions that read it are fitted (`neck_start`), so that the student
starts with a head that understands its features.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from detection.distillation.method import Pair, Preparation
from detection.distillation.neck_start import NeckStart
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_options import InheritingOptions

HEADS = ("rpn_head", "roi_head", "bbox_head")
"""Names of the heads of mmdet's detectors."""


class Inheriting(Preparation):
    """Copies neck and head of the teacher, unless an ancestor of the student already did.

    Attributes:
        done: Whether an ancestor or this student copied them; a bool scalar.
    """

    done: Tensor

    def __init__(self, options: InheritingOptions) -> None:
        super().__init__()
        self._options = options
        self._has_copied = False
        self.register_buffer("done", torch.tensor(False))

    @classmethod
    def build(cls, options: InheritingOptions, pair: Pair) -> Self:
        del pair
        return cls(options)

    def prepare(self, student: nn.Module, teacher: nn.Module) -> tuple[nn.Module, ...]:
        """Copy once. Nothing is frozen.

        Raises:
            InvalidValueError: The heads or the necks differ. The student is not changed.
        """
        if not self.done:
            inherit(student, teacher)
            self.done.fill_(True)
            self._has_copied = True
        return ()

    def neck_start(self, student: nn.Module, teacher: nn.Module) -> NeckStart | None:
        """Return what fits the neck that was copied here; None if an ancestor copied it, or it is
        to stay as it was copied."""
        if not self._has_copied or self._options.laterals == "copied":
            return None
        return NeckStart(student, teacher, self._options.start_images)


def inherit(student: nn.Module, teacher: nn.Module) -> None:
    """Copy the weights and buffers of a teacher's neck and head into a student.

    "When shapes match" (docs/papers.md 4.4): convolutions of the neck that read a backbone of other
    widths are not copied. All other shapes must match.

    Args:
        student: mmdet detector.
        teacher: mmdet detector of the same family.

    Raises:
        InvalidValueError: Heads or necks differ in a name or shape. The student is not changed.
    """
    own, given = _neck_and_head(student), _neck_and_head(teacher)
    if own.keys() != given.keys():
        raise InvalidValueError(
            "inheriting needs a teacher with the student's neck and head; only one of them has "
            f"{', '.join(sorted(own.keys() ^ given.keys()))}"
        )
    kept = _readers_of_another_backbone(own, given)
    copied = [name for name in own if name not in kept]
    for name in copied:
        if own[name].shape != given[name].shape:
            raise InvalidValueError(
                f"inheriting needs a teacher with the student's neck and head: {name} is "
                f"{tuple(own[name].shape)} in the student and {tuple(given[name].shape)} in the "
                "teacher"
            )
    student.load_state_dict({name: given[name] for name in copied}, strict=False)


def _neck_and_head(model: nn.Module) -> dict[str, Tensor]:
    parts = ("neck", *HEADS)
    return {
        name: value for name, value in model.state_dict().items() if name.split(".")[0] in parts
    }


def _readers_of_another_backbone(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> frozenset[str]:
    """Return the tensors of the neck's modules that read a backbone of other widths.

    Their weights have the same number of outputs and another number of inputs. Inside a neck all
    convolutions have the same width.
    """
    modules = defaultdict(set)
    for name in own:
        modules[name.rpartition(".")[0]].add(name)
    differ = [
        name
        for name in own
        if name.startswith("neck.")
        and own[name].dim() == 4
        and own[name].shape[1] != given[name].shape[1]
        and own[name].shape[0] == given[name].shape[0]
    ]
    return frozenset().union(*(modules[name.rpartition(".")[0]] for name in differ))
