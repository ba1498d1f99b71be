"""Steps over (student, teacher) pairs: an action on the student, or another teacher.

Joint-DetNAS Algorithm 1's loop body (docs/papers.md 1.2), without the choice of the pair to go on
from.
"""

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from searchd.domain.actions import ACTION_KINDS, ActionKind, LayerImportance, legal_actions
from searchd.domain.architecture import Architecture
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import TeacherCandidates
from searchd.domain.trial import (
    BASE_NAME,
    Change,
    MutateTeacher,
    Proposal,
    TeacherPolicy,
    Train,
    TrialRole,
    trial_name,
)
from searchd.search.history import Completion, completion_of, search_trials
from searchd.search.sampling import mutate_subnet, sample_subnets
from searchd.search.strategies.base import PoolStrategy


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRules(PoolStrategy):
    """Trial 0 is (S_base, P_super); every other one changes the pair of an earlier one."""

    student_frozen_trials: int = 5
    student_probability: float = 0.5
    actions: tuple[ActionKind, ...] = ACTION_KINDS
    prune_fraction: float = 0.05
    min_channels: int = 32
    layer_importance: LayerImportance = LayerImportance.L1_MEAN
    teacher_policy: TeacherPolicy = TeacherPolicy.MUTATE
    another_gene_probability: float = 0.3
    nearest_candidates: int = 4

    @abstractmethod
    def parent(self, completions: Sequence[Completion], rng: random.Random) -> Completion | None:
        """The search trial to go on from; None while none has succeeded."""

    def propose(self, proposals: Sequence[Proposal], completions: Sequence[Completion]) -> Proposal:
        number = len(search_trials(proposals))
        rng = self.generator(trial_name(TrialRole.SEARCH, number))
        parent = self.parent(completions, rng) if number > 0 else None
        start = parent or completion_of(BASE_NAME, completions)
        assert start is not None  # search trials come after the base
        assert start.architecture is not None  # of successes
        change = self._change(number, start.architecture, rng)
        return Proposal(
            role=TrialRole.SEARCH,
            number=number,
            parent=start.proposal.name,
            change=change,
            teacher=self._teacher(number, start, change, rng),
            seed=rng.getrandbits(31),
            completed_before=len(completions),
        )

    def _change(self, number: int, architecture: Architecture, rng: random.Random) -> Change:
        if number == 0:
            return Train()
        if self._edits_student(number, rng):
            legal = legal_actions(
                architecture,
                kinds=self.actions,
                prune_fraction=self.prune_fraction,
                min_channels=self.min_channels,
                importance=self.layer_importance,
            )
            if legal:
                return rng.choice(legal[rng.choice(list(legal))])
        return MutateTeacher() if self.teacher_policy is TeacherPolicy.MUTATE else Train()

    def _edits_student(self, number: int, rng: random.Random) -> bool:
        if self.teacher_policy is TeacherPolicy.FIXED:
            return True
        return number > self.student_frozen_trials and rng.random() < self.student_probability

    def _teacher(
        self, number: int, parent: Completion, change: Change, rng: random.Random
    ) -> Subnet | TeacherCandidates:
        inherited = parent.teacher or self.space.largest
        assert isinstance(inherited, Subnet)  # these strategies propose no others, or it is chosen
        if self.teacher_policy is TeacherPolicy.RANDOM:
            return self.space.sample(rng)
        if isinstance(change, MutateTeacher):
            return mutate_subnet(inherited, self.space, rng, self.another_gene_probability)
        if self.teacher_policy is TeacherPolicy.NEAREST and isinstance(change, Train) and number:
            return TeacherCandidates(
                candidates=sample_subnets(self.space, self.nearest_candidates, rng)
            )
        return inherited  # with a fixed teacher, trial 0's: the largest
