"""Steps over (student, teacher) pairs: an action on the student, or another teacher.

The loop body of Joint-DetNAS Algorithm 1 (docs/papers.md 1.2), without the choice of the parent.
"""

import random
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from searchd.domain.actions import (
    ACTION_KINDS,
    ActionKind,
    ChannelImportance,
    LayerImportance,
    legal_actions,
)
from searchd.domain.method_set import MethodSet, MutateMethods
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import RegisteredTeacher, Teacher, TeacherCandidates
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
from searchd.search.better_teachers import FINISH_MARGIN, Comparison, ap_of, compare
from searchd.search.completions import Completions
from searchd.search.history import Completion
from searchd.search.method_genes import MethodGenes
from searchd.search.proposals import Proposals
from searchd.search.sampling import sample_subnets
from searchd.search.strategies.base import CHANNEL_IMPORTANCE, ROUND_TO, TaughtStrategy, option


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSettings:
    """The settings of strategies that edit students by actions and choose teachers by a policy."""

    student_frozen_trials: int = option(
        5,
        "Number of trials after trial 0 that do not edit the student. Ignored with "
        "`teacher_policy: fixed`, unless the distillation methods are searched.",
        ge=0,
    )
    student_probability: float = option(
        0.5,
        "Probability, from 0 to 1, that a trial edits the student instead of the teacher, or of "
        "the distillation methods where they are searched. Ignored with `teacher_policy: fixed`, "
        "unless they are.",
        ge=0,
        le=1,
    )
    actions: tuple[ActionKind, ...] = option(
        ACTION_KINDS,
        "Actions that may edit a student: prune_channels, prune_layer, add_layer, rearrange.",
    )
    prune_fraction: float = option(
        0.05,
        "Fraction of all prunable channels, between 0 and 1, that prune_channels removes.",
        gt=0,
        lt=1,
    )
    min_channels: int = option(
        32, "Smallest number of channels that prune_channels leaves in a convolution.", ge=1
    )
    round_to: int | None = option(None, ROUND_TO, ge=1)
    channel_importance: ChannelImportance = option(ChannelImportance.GAMMA, CHANNEL_IMPORTANCE)
    layer_importance: LayerImportance = option(
        LayerImportance.L1_MEAN,
        "How prune_layer ranks blocks by their weights: l1_mean (mean of |w|) or l1_sum (sum of "
        "|w|). The block with the smallest value is removed.",
    )
    allow_lateral_reinit: bool = option(
        False,
        "Whether rearrange may move a layer where that changes the width of a level, whose lateral "
        "convolution in the FPN then starts from random weights.",
    )
    rearranged_projection: bool = option(
        False,
        "Whether a layer with an identity shortcut that rearrange makes the first of a stage gets "
        "a 1x1 projection of stride 2, which starts as the identity, as its shortcut. Otherwise "
        "its shortcut is every second row and column of its input.",
    )
    teacher_policy: TeacherPolicy = option(
        TeacherPolicy.MUTATE,
        "How a trial gets its teacher. mutate: a mutation of the parent's teacher, or a registered "
        "teacher. fixed: always the largest subnet, or the only registered teacher. random: a "
        "random teacher. nearest: the nearest of several random subnets.",
    )
    better_only: bool = option(
        True,
        "Whether a trial has a teacher whose measured AP is above that of its parent's student, as "
        "long as there is one. Teachers that were not measured may be drawn. Ignored with "
        "`teacher_policy: fixed`.",
    )
    teach_by_weaker: bool = option(
        False,
        "Whether a trial is taught by the best teacher if none is better than its parent's "
        "student. If not, it trains without a teacher, and edits the student where it would "
        "change the teacher. Without `better_only` it makes no difference.",
    )
    another_gene_probability: float = option(
        0.3,
        "Probability, from 0 to 1, of resampling one more gene when a teacher is mutated.",
        ge=0,
        lt=1,
    )
    nearest_candidates: int = option(
        4,
        "Number of random subnets among which `teacher_policy: nearest` chooses. Other policies "
        "ignore it.",
        ge=2,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSteps(TaughtStrategy):
    """Trial 0 is (S_base, P_super), or the base under the first registered teacher if there is no
    pool; every other trial changes the pair of an earlier one, or its distillation methods."""

    settings: PairSettings = PairSettings()
    genes: MethodGenes | None = None
    """The distillation methods that trials may have. None: all have those of the spec."""

    @abstractmethod
    def parent(self, completions: Completions, rng: random.Random) -> Completion | None:
        """Return the search trial that is the parent, or None while none has succeeded."""

    def propose(self, proposals: Proposals, completions: Completions) -> Proposal:
        number = len(proposals.searched)
        rng = self.generator(trial_name(TrialRole.SEARCH, number))
        parent = self.parent(completions, rng) if number > 0 else None
        start = parent or completions.find(BASE_NAME)
        assert start is not None  # search trials come after the base
        comparison = self.compare_teachers(completions, start)
        alone = comparison is not None and self._trains_alone(comparison)
        methods = self._methods_of(start)
        change = self._change(number, start, methods, rng, alone=alone)
        return Proposal(
            role=TrialRole.SEARCH,
            number=number,
            parent=start.proposal.name,
            change=change,
            teacher=None if alone else self._teacher(number, start, change, comparison, rng),
            seed=rng.getrandbits(31),
            completed_before=len(completions),
            methods=changed(methods, change),
        )

    def _change(
        self,
        number: int,
        parent: Completion,
        methods: MethodSet | None,
        rng: random.Random,
        *,
        alone: bool,
    ) -> Change:
        if number == 0:
            return Train()
        edit = self._edit(parent, rng) if alone or self._edits_student(number, rng) else None
        if edit is None and not alone:
            edit = self._mutated_methods(methods, rng)
        if edit is not None:
            return edit
        mutates = self.settings.teacher_policy is TeacherPolicy.MUTATE and not alone
        return MutateTeacher() if mutates and not self._has_one_teacher else Train()

    def _edit(self, parent: Completion, rng: random.Random) -> Change | None:
        """Draw an action on the parent's student; None if none is legal."""
        settings = self.settings
        assert parent.architecture is not None  # of successes
        legal = legal_actions(
            parent.architecture,
            kinds=settings.actions,
            prune_fraction=settings.prune_fraction,
            min_channels=settings.min_channels,
            round_to=self.round_to,
            channel_importance=settings.channel_importance,
            importance=settings.layer_importance,
            reinit_laterals=settings.allow_lateral_reinit,
            projection=settings.rearranged_projection,
        )
        return rng.choice(legal[rng.choice(list(legal))]) if legal else None

    def _mutated_methods(self, methods: MethodSet | None, rng: random.Random) -> Change | None:
        """Draw an edit of the parent's methods; None if the teacher is to change instead."""
        if self.genes is None or methods is None:
            return None
        if not self._has_one_teacher and rng.random() >= self.genes.probability:
            return None
        return self.genes.draw(methods, rng)

    def _methods_of(self, parent: Completion) -> MethodSet | None:
        """Return the methods that a trial inherits; None if they are not searched."""
        return None if self.genes is None else parent.proposal.methods or self.genes.start

    @property
    def _has_one_teacher(self) -> bool:
        """Whether all trials have the same teacher."""
        is_fixed = self.settings.teacher_policy is TeacherPolicy.FIXED
        return is_fixed or self.teachers.has_one_registered_alone

    def _edits_student(self, number: int, rng: random.Random) -> bool:
        settings = self.settings
        if settings.teacher_policy is TeacherPolicy.FIXED and self.genes is None:
            return True
        is_frozen = number <= settings.student_frozen_trials
        return not is_frozen and rng.random() < settings.student_probability

    def compare_teachers(self, completions: Completions, student: Completion) -> Comparison | None:
        """Compare the measured teachers with a student that is to be taught. None if that decides
        nothing: by the settings, or because nothing was measured."""
        if self.measured is None or not self.settings.better_only:
            return None
        if self.settings.teacher_policy is TeacherPolicy.FIXED:
            return None
        return compare(self.measured, completions, student)

    def finishes_alone(self, trial: Completion) -> bool:
        """Return whether the student of a trial is finished without its teacher: the teacher is not
        clearly better, and the student soon will be. False where nothing was measured."""
        settings, own = self.settings, ap_of(trial)
        if settings.teacher_policy is TeacherPolicy.FIXED or settings.teach_by_weaker:
            return False
        if not settings.better_only or trial.teacher_ap is None or own is None:
            return False
        return trial.teacher_ap < own + FINISH_MARGIN

    def _trains_alone(self, comparison: Comparison) -> bool:
        """Return whether a student has no teacher to learn from: the measured ones are no better,
        and neither the largest subnet nor a registered teacher is unknown."""
        if self.settings.teach_by_weaker or comparison.best_ap > comparison.student_ap:
            return False
        return not any(map(comparison.admits, self.teachers.likely_best))

    def _teacher(
        self,
        number: int,
        parent: Completion,
        change: Change,
        comparison: Comparison | None,
        rng: random.Random,
    ) -> Teacher | TeacherCandidates:
        inherited = parent.teacher or self.teachers.first
        # These strategies propose no others: one of several candidates has been chosen.
        assert isinstance(inherited, Subnet | RegisteredTeacher)
        policy = self.settings.teacher_policy
        if policy is TeacherPolicy.RANDOM:
            return _drawn(lambda: self.teachers.draw(rng), comparison)
        if isinstance(change, MutateTeacher):
            return _drawn(lambda: self._another(inherited, rng), comparison)
        if policy is TeacherPolicy.NEAREST and isinstance(change, Train) and number:
            return self._candidates(comparison, rng)
        # With a fixed teacher, that of trial 0.
        if comparison is None or comparison.admits(inherited):
            return inherited
        if number == 0:  # no draw: the reference of all later trials
            return comparison.best
        return comparison.draw(lambda: self._another(inherited, rng))

    def _another(self, teacher: Teacher, rng: random.Random) -> Teacher:
        return self.teachers.another(teacher, rng, self.settings.another_gene_probability)

    def _candidates(
        self, comparison: Comparison | None, rng: random.Random
    ) -> Teacher | TeacherCandidates:
        """Return the candidates for the nearest teacher; fewer than two are no choice."""
        space, num = self.space, self.settings.nearest_candidates
        assert space is not None  # a spec with this policy has a pool
        if comparison is None:
            return TeacherCandidates(candidates=sample_subnets(space, num, rng))
        found = comparison.draw_several(lambda: space.sample(rng), num)
        if len(found) > 1:
            return TeacherCandidates(candidates=found)
        return found[0] if found else comparison.best


def changed(methods: MethodSet | None, change: Change) -> MethodSet | None:
    """Return the methods of a trial with this change; None if they are not searched."""
    if methods is None or not isinstance(change, MutateMethods):
        return methods
    return change.applied_to(methods)


def _drawn(draw: Callable[[], Teacher], comparison: Comparison | None) -> Teacher:
    return draw() if comparison is None else comparison.draw(draw)
