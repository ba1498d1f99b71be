"""Edits of a student that keep its weights: one file per action, and `evolve` above them.

Joint-DetNAS sections 3.1.2, A.1.2, A.3; decisions in docs/papers.md 1.5. Weights are edited as
plain state_dicts; no model is built here. What an action does not touch stays the same tensor.
"""

from detection.morphism.errors import NothingToDo
from detection.morphism.evolve import evolve

__all__ = ["NothingToDo", "evolve"]
