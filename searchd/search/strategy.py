"""Joint-DetNAS hill climbing over (student, teacher) pairs as an ask/tell strategy.

Joint-DetNAS (004) Algorithm 1, sections 3.1.4 and A.1.4; decisions in papers.md 1.2. Pure: no
clock, no database, no hidden state. Every decision is a function of the settings, the proposals
made so far and the completions told so far; proposal n draws from a generator seeded by
(search seed, n). Replaying recorded completions therefore reproduces every proposal, whatever the
timing was. Several trials may be in flight: all share one top-k list (the paper's parallel form).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from searchd.domain.actions import ACTION_KINDS, ActionKind, LayerImportance, legal_actions
from searchd.domain.architecture import Architecture
from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet, SubnetSpace, genes, with_genes
from searchd.domain.trial import (
    BASE_NAME,
    Change,
    MutateTeacher,
    Outcome,
    Proposal,
    Train,
    TrialRole,
    trial_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategySettings:
    """All that the decisions of a search depend on; `searchd.spec` says what each field means."""

    space: SubnetSpace
    seed: int = 0
    max_trials: int = 100
    patience: int = 20
    top_k: int = 5
    student_frozen_trials: int = 5
    student_probability: float = 0.5
    actions: tuple[ActionKind, ...] = ACTION_KINDS
    prune_fraction: float = 0.05
    min_channels: int = 32
    layer_importance: LayerImportance = LayerImportance.L1_MEAN
    another_gene_probability: float = 0.3
    control: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A trial that ended."""

    sequence: int
    """Position among the search's completions, from 0 without gaps."""
    proposal: Proposal
    outcome: Outcome
    architecture: Architecture | None = None
    """The trained student's. Set if and only if it succeeded."""
    score: float | None = None
    """Best score over the resolutions. Set if and only if it succeeded."""

    def __post_init__(self) -> None:
        succeeded = self.outcome is Outcome.SUCCEEDED
        if (self.score is not None) != succeeded or (self.architecture is not None) != succeeded:
            raise InvalidValueError(
                f"trial {self.proposal.name}: score and architecture belong to a success, "
                f"got outcome={self.outcome}, score={self.score}"
            )


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to propose until a trial in flight ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing will be proposed any more, and nothing is in flight."""

    reason: str
    succeeded: bool


@dataclass(slots=True)
class Strategy:
    """Ask for a proposal, tell how a trial ended. Not thread-safe: one driver owns it."""

    settings: StrategySettings
    proposals: list[Proposal] = field(default_factory=list)
    """In the order they were made. Given at construction to go on with an interrupted search."""
    completions: list[Completion] = field(default_factory=list)
    """In the order they were told."""

    def ask(self) -> Proposal | Wait | Finished:
        """The next trial to run, which from now on is in flight."""
        decision = decide(self.settings, self.proposals, self.completions)
        if isinstance(decision, Proposal):
            self.proposals.append(decision)
        return decision

    def tell(self, completion: Completion) -> None:
        """Take in how a trial ended.

        Raises:
            InvalidValueError: The trial is not in flight, or the sequence number is not the next.
        """
        if completion.sequence != len(self.completions):
            raise InvalidValueError(
                f"completion {completion.sequence} was told out of order; "
                f"expected {len(self.completions)}"
            )
        if completion.proposal not in self.in_flight:
            raise InvalidValueError(f"trial {completion.proposal.name} is not in flight")
        self.completions.append(completion)

    @property
    def in_flight(self) -> list[Proposal]:
        """Proposals that have not completed."""
        return _in_flight(self.proposals, self.completions)

    @property
    def has_base(self) -> bool:
        """Whether the base detector is trained and scored."""
        return any(
            c.proposal.role is TrialRole.BASE and c.outcome is Outcome.SUCCEEDED
            for c in self.completions
        )


def decide(
    settings: StrategySettings, proposals: Sequence[Proposal], completions: Sequence[Completion]
) -> Proposal | Wait | Finished:
    """What comes next: the base, then search trials, then controls.

    Args:
        settings: The search's settings.
        proposals: All proposals made so far, in order.
        completions: All completions so far, in order of their sequence numbers.
    """
    in_flight = _in_flight(proposals, completions)
    if not proposals:
        return _base(settings)
    base = _completion_of(BASE_NAME, completions)
    if base is None:
        return Wait("the base detector is being trained")
    if base.outcome is not Outcome.SUCCEEDED:
        return Finished("the base detector could not be trained", succeeded=False)
    number = sum(p.role is TrialRole.SEARCH for p in proposals)
    reason = _stop_reason(settings, number, completions)
    if reason is None:
        return _search_trial(settings, number, completions)
    if any(p.role is TrialRole.SEARCH for p in in_flight):
        return Wait("the last trials are running")
    best = ranking(completions)
    if not best:
        return Finished(f"{reason}, but no trial succeeded", succeeded=False)
    length = len(lineage(best[0].proposal.name, proposals)) - 1 if settings.control else 0
    return _control(settings, length, proposals, completions) or (
        Wait("the control is being trained") if in_flight else Finished(reason, succeeded=True)
    )


def replay(
    settings: StrategySettings, proposals: Sequence[Proposal], completions: Sequence[Completion]
) -> list[Proposal | Wait | Finished]:
    """What the strategy would decide in place of each recorded proposal, given the completions that
    it had seen then. Equal to `proposals` if code and settings are the recording's."""
    return [
        decide(settings, proposals[:index], completions[: proposal.completed_before])
        for index, proposal in enumerate(proposals)
    ]


def ranking(completions: Sequence[Completion]) -> list[Completion]:
    """Search trials that succeeded, best score first; ties in order of completion."""
    succeeded = [
        c
        for c in completions
        if c.proposal.role is TrialRole.SEARCH and c.outcome is Outcome.SUCCEEDED
    ]
    return sorted(succeeded, key=lambda c: -_score(c))


def lineage(name: str, proposals: Sequence[Proposal]) -> list[str]:
    """Names from the base to the trial, both included."""
    parents = {p.name: p.parent for p in proposals}
    names = [name]
    while (parent := parents[names[-1]]) is not None:
        names.append(parent)
    return names[::-1]


def mutate_teacher(
    teacher: Subnet, space: SubnetSpace, rng: random.Random, another_gene_probability: float
) -> Subnet:
    """A different subnet: one gene resampled uniformly from its other legal values, and with the
    given probability another gene, and so on (papers.md 1.2).

    Returns:
        The mutated teacher, or `teacher` itself if the space has no other subnet.
    """
    values = genes(teacher)
    mutable = [name for name in values if len(space.legal_values(name)) > 1]
    rng.shuffle(mutable)
    for index, name in enumerate(mutable):
        if index > 0 and rng.random() >= another_gene_probability:
            break
        values[name] = rng.choice([v for v in space.legal_values(name) if v != values[name]])
    return with_genes(values)


def _base(settings: StrategySettings) -> Proposal:
    return Proposal(
        role=TrialRole.BASE,
        number=0,
        parent=None,
        change=Train(),
        teacher=None,
        seed=_generator(settings, BASE_NAME).getrandbits(31),
        completed_before=0,
    )


def _stop_reason(
    settings: StrategySettings, number: int, completions: Sequence[Completion]
) -> str | None:
    if number >= settings.max_trials:
        return f"budget: {settings.max_trials} trials"
    best = float("-inf")
    without_gain = 0
    for completion in completions:
        if completion.proposal.role is not TrialRole.SEARCH:
            continue
        if completion.score is not None and completion.score > best:
            best = completion.score
            without_gain = 0
        else:
            without_gain += 1
    if without_gain >= settings.patience:
        return f"converged: {settings.patience} trials in a row without a better score"
    return None


def _search_trial(
    settings: StrategySettings, number: int, completions: Sequence[Completion]
) -> Proposal:
    rng = _generator(settings, trial_name(TrialRole.SEARCH, number))
    top = ranking(completions)[: settings.top_k]
    parent, teacher = BASE_NAME, settings.space.largest
    base = _completion_of(BASE_NAME, completions)
    assert base is not None  # search trials come after the base
    architecture = base.architecture
    if number > 0 and top:
        chosen = _rank_sample(top, rng)
        parent, architecture = chosen.proposal.name, chosen.architecture
        assert chosen.proposal.teacher is not None  # search trials have a teacher
        teacher = chosen.proposal.teacher
    assert architecture is not None  # of successes
    change: Change = Train()
    if number > 0:
        change = _draw_change(settings, number, architecture, rng)
    if isinstance(change, MutateTeacher):
        teacher = mutate_teacher(teacher, settings.space, rng, settings.another_gene_probability)
    return Proposal(
        role=TrialRole.SEARCH,
        number=number,
        parent=parent,
        change=change,
        teacher=teacher,
        seed=rng.getrandbits(31),
        completed_before=len(completions),
    )


def _rank_sample(top: Sequence[Completion], rng: random.Random) -> Completion:
    # Rank j (1 = best) of k entries has probability proportional to k + 1 - j (papers.md 1.2).
    return rng.choices(top, weights=range(len(top), 0, -1))[0]


def _draw_change(
    settings: StrategySettings, number: int, architecture: Architecture, rng: random.Random
) -> Change:
    edits_student = (
        number > settings.student_frozen_trials and rng.random() < settings.student_probability
    )
    if not edits_student:
        return MutateTeacher()
    legal = legal_actions(
        architecture,
        kinds=settings.actions,
        prune_fraction=settings.prune_fraction,
        min_channels=settings.min_channels,
        importance=settings.layer_importance,
    )
    if not legal:
        return MutateTeacher()
    return rng.choice(legal[rng.choice(list(legal))])


def _control(
    settings: StrategySettings,
    length: int,
    proposals: Sequence[Proposal],
    completions: Sequence[Completion],
) -> Proposal | None:
    """The next control, or None when there is none to propose (now)."""
    done = [p for p in proposals if p.role is TrialRole.CONTROL]
    if len(done) >= length:
        return None
    if done:
        last = _completion_of(done[-1].name, completions)
        if last is None or last.outcome is not Outcome.SUCCEEDED:
            return None
    number = len(done) + 1
    return Proposal(
        role=TrialRole.CONTROL,
        number=number,
        parent=done[-1].name if done else BASE_NAME,
        change=Train(),
        teacher=None,
        seed=_generator(settings, trial_name(TrialRole.CONTROL, number)).getrandbits(31),
        completed_before=len(completions),
    )


def _generator(settings: StrategySettings, name: str) -> random.Random:
    return random.Random(f"{settings.seed}/{name}")


def _in_flight(proposals: Sequence[Proposal], completions: Sequence[Completion]) -> list[Proposal]:
    completed = {c.proposal.name for c in completions}
    return [p for p in proposals if p.name not in completed]


def _completion_of(name: str, completions: Sequence[Completion]) -> Completion | None:
    return next((c for c in completions if c.proposal.name == name), None)


def _score(completion: Completion) -> float:
    assert completion.score is not None  # of successes
    return completion.score
