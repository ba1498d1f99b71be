"""An analytic landscape of detectors, on which searches are compared without training.

A detector is a number of blocks in each of four stages, and a width. Its AP grows with both, with
diminishing returns; the stages do not count alike, and a teacher that is better by much teaches
less well. The score is that of the service, and a measured AP has noise. A detector that inherits
weights has been trained in all trials of its lineage, and one that is drawn anew in one trial.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from searchd.domain.actions import AddLayer, PruneChannels, PruneLayer, removable_blocks
from searchd.domain.architecture import Architecture, Block, preset
from searchd.domain.resolution import Resolution
from searchd.domain.score import score
from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.domain.teacher import Teaching
from searchd.domain.trial import Outcome, Proposal, TrialRole
from searchd.search.history import Completion, OperatingPoint

SIZE = Resolution(96, 96)
NOISE = 0.003
"""Standard deviation of a measured AP."""
MAX_DEPTH, MIN_WIDTH = 8, 0.3
SPACE = SubnetSpace(
    depths=((1, 2, 3),) * 4, widths=((1.0, 1.5, 2.0),) * 4, neck_channels=(16, 32), base_channels=8
)
_WEIGHTS, _COSTS = (0.6, 1.0, 1.6, 0.8), (1.0, 1.2, 1.5, 1.9)
"""What the stages contribute to AP, and what their blocks cost."""


@dataclass(frozen=True, slots=True)
class Student:
    """A detector of the landscape."""

    depths: tuple[int, ...] = (2, 2, 2, 2)
    width: float = 1.0
    trained: float = 8.0
    """Number of trials in which it was trained; the training of the base counts as eight."""

    @property
    def macs(self) -> float:
        blocks = sum(n * cost for n, cost in zip(self.depths, _COSTS, strict=True))
        return 1e8 * (1.0 + blocks) * self.width**1.7

    def ap(self, teacher: float) -> float:
        """Return the AP without noise, in [0, 1].

        Args:
            teacher: Strength of the teacher, in [0, 1]; 0.6 is the best one.
        """
        gain = sum(w * math.log(1 + n) for n, w in zip(self.depths, _WEIGHTS, strict=True))
        size = 1 - math.exp(-0.28 * gain * self.width**0.6)
        learned = 1 - 0.5 * math.exp(-self.trained / 6)
        return 0.55 * size * learned * (1 - 0.6 * (teacher - 0.6) ** 2)


BASE = Student()


def strength(teacher: Teaching | None) -> float:
    """Return the strength of a subnet as a teacher, in [0, 1]."""
    if not isinstance(teacher, Subnet):
        return 0.0
    largest, smallest = _size(SPACE.largest), _size(SPACE.smallest)
    return (_size(teacher) - smallest) / (largest - smallest)


def score_of(student: Student, teacher: float, noise: float = 0.0) -> float:
    """Return the score of a student, with this error of its AP."""
    ap = max(0.0, student.ap(teacher) + noise)
    return score(
        ap=ap, macs=student.macs, base_macs=BASE.macs, resolution=SIZE, base_resolution=SIZE
    )


class Trials:
    """Completes the proposals of a search by the landscape.

    Args:
        seed: Seed of the noise.
        inherits: Whether training adds up over a lineage. If not, all detectors are trained alike.
    """

    def __init__(self, seed: int, *, inherits: bool = True) -> None:
        self._rng = random.Random(seed)
        self._inherits = inherits
        self._students: dict[str, Student] = {}
        self.true_scores: list[float] = []
        """Score without noise of every search trial, in order of completion."""

    def completed(self, proposal: Proposal, sequence: int) -> Completion:
        """Return the completion of a proposal."""
        student = self._student(proposal)
        if self._inherits and proposal.role is not TrialRole.BASE:
            student = replace(student, trained=student.trained + 1)
        self._students[proposal.name] = student
        teacher = strength(proposal.teacher)
        if proposal.role is TrialRole.SEARCH:
            self.true_scores.append(score_of(student, teacher))
        found = score_of(student, teacher, self._rng.gauss(0.0, NOISE))
        point = OperatingPoint(resolution=SIZE, ap=student.ap(teacher), macs=student.macs)
        return Completion(
            sequence=sequence,
            proposal=proposal,
            outcome=Outcome.SUCCEEDED,
            architecture=_architecture(student),
            score=found,
            points=(point,),
        )

    def _student(self, proposal: Proposal) -> Student:
        parent = self._students.get(proposal.parent or "", BASE)
        match proposal.change:
            case PruneChannels(fraction=fraction):
                return replace(parent, width=max(MIN_WIDTH, parent.width * (1 - fraction)))
            case PruneLayer():
                removable = {stage for stage, _ in removable_blocks(_architecture(parent))}
                stage = max(removable, key=lambda each: parent.depths[each - 1])
                return replace(parent, depths=_with(parent.depths, stage, -1))
            case AddLayer(stage=stage):
                return replace(parent, depths=_with(parent.depths, stage, 1))
            case _:
                return parent


def _with(depths: Sequence[int], stage: int, change: int) -> tuple[int, ...]:
    found = list(depths)
    found[stage - 1] = min(MAX_DEPTH, max(1, found[stage - 1] + change))
    return tuple(found)


def _size(subnet: Subnet) -> float:
    return sum(n * width for n, width in zip(subnet.depths, subnet.widths, strict=True))


_PRESET = preset("resnet18", base_channels=16)
_KNOWN: dict[tuple[int, ...], Architecture] = {}


def _architecture(student: Student) -> Architecture:
    """Return a backbone with as many blocks, of which the legal actions are derived."""
    if student.depths not in _KNOWN:
        found = _PRESET
        for stage, depth in enumerate(student.depths, start=1):
            blocks = _PRESET.stages[stage - 1]
            found = found.with_stage(stage, _stretched(blocks, depth))
        _KNOWN[student.depths] = found
    return _KNOWN[student.depths]


def _stretched(blocks: Sequence[Block], depth: int) -> tuple[Block, ...]:
    return (blocks[0], *[blocks[1]] * (depth - 1))


def drawn(values: Mapping[str, float], *, inherits: bool) -> Student:
    """Return the student with these values, as a sampler without weights draws them. Where training
    adds up over a lineage, it has been trained in one trial."""
    depths = tuple(round(values[f"depth{stage}"]) for stage in range(1, 5))
    trained = 1.0 if inherits else BASE.trained
    return Student(depths=depths, width=values["width"], trained=trained)
