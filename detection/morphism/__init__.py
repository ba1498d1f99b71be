"""Network morphism: edits of a student that inherit its weights, one file per action.

Joint-DetNAS sections 3.1.2, A.1.2, A.3; decisions in docs/papers.md 1.5. `evolve` calls the action.
Weights are edited as plain state_dicts, without building a model. Tensors that an action does not
change are shared with the parent.
"""

from detection.morphism.errors import NothingToDo
from detection.morphism.evolve import evolve

__all__ = ["NothingToDo", "evolve"]
