"""What a stage of a distillation takes over from the one before it."""

from collections.abc import Sequence

from searchd.domain.distillation import MethodName
from searchd.domain.teacher import Teaching
from searchd.spec import Inherited, MethodsSpec


def handed_on(
    teacher: Teaching | None,
    earlier: Sequence[Teaching],
    inherited: Inherited,
    distillation: MethodsSpec,
) -> tuple[Inherited, MethodsSpec]:
    """The parent's student as a stage finds it, and what the stage distils by (papers.md 2.6).

    Weights are carried over; adapters only under the same teacher. The inheriting strategy, which
    remembers in the adapters that it has acted, is left out once the student had another teacher.

    Args:
        teacher: The stage's.
        earlier: Teachers of the stages before, the last one last.
        inherited: Of the parent, with its adapters.
        distillation: What was submitted.
    """
    if not earlier or earlier[-1] != teacher:
        inherited = inherited.model_copy(update={"adapters": None})
    if any(other != teacher for other in earlier):
        methods = tuple(m for m in distillation.methods if m.name is not MethodName.INHERITING)
        distillation = distillation.model_copy(update={"methods": methods})
    return inherited, distillation
