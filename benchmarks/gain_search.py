"""Rows of the table of gains that are searches, with the search's own strategies and edits.

A search runs in this process, one trial after another, without a service: `AskTell` proposes, and
each trial is edited, trained and scored here as a worker does it.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from benchmarks.gain_bench import LEARNERS, Workbench
from benchmarks.gain_settings import SEARCH, Row, student
from detection.build import Student, load_student
from detection.measurement.complexity import count
from detection.morphism import NothingToDo, evolve
from detection.morphism.prune_to_macs import prune_to_macs
from searchd.domain.actions import Action, legal_actions
from searchd.domain.detector import Family
from searchd.domain.score import score
from searchd.domain.teacher import RegisteredTeacher, TeacherAp
from searchd.domain.trial import MutateTeacher, Outcome, Proposal, PruneToMacs, Train
from searchd.search.ask_tell import AskTell
from searchd.search.history import Completion, Finished, lineage, ranking
from searchd.search.strategies.base import TaughtStrategy
from searchd.search.strategies.joint_detnas import JointDetNas, JointDetNasSettings
from searchd.search.strategies.pair_steps import PairSettings
from searchd.search.strategies.random_search import RandomSearch

REGISTERED = tuple(RegisteredTeacher(teacher=name) for name in LEARNERS[::-1])
"""The teachers of a search; the first, the largest, teaches trial 0."""


class Trains(Protocol):
    """Trains a student; see `benchmarks.gain_runs.Trainer.train`."""

    bench: Workbench
    seed: int

    def train(
        self,
        model: Any,
        row: Row,
        teachers: Sequence[str],
        adapters: Mapping[str, Any],
        number: int,
    ) -> tuple[Mapping[str, float], Mapping[str, Any]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A student that a trial has trained."""

    student: Student
    teacher: str
    """Name of its teacher; empty before the first trial."""
    adapters: Mapping[str, Any]
    ap: float
    """AP of the validation images."""


class Search:
    """A search of one row and seed."""

    def __init__(self, trainer: Trains, row: Row) -> None:
        self._trainer, self._row, self._bench = trainer, row, trainer.bench
        self._base = base_of(trainer.bench, trainer.seed)
        self._done: dict[str, Trained] = {}

    def run(self) -> tuple[Any, dict[str, Any]]:
        """Run the search; return the best student by score, its MACs and the length of its lineage,
        the base not counted."""
        asked = AskTell(self._strategy())
        while not isinstance(decision := asked.ask(), Finished):
            assert isinstance(decision, Proposal)  # one trial at a time, so there is no waiting
            asked.tell(self._completion(decision, len(asked.completions)))
        best = ranking(asked.completions)[0]
        done = self._done[best.proposal.name]
        length = len(lineage(best.proposal.name, asked.proposals)) - 1
        found = {"macs": self.macs(done.student), "length": length, "validation score": best.score}
        return load_student(done.student), found

    def pruned(self, macs: float, length: int) -> tuple[Any, dict[str, Any]]:
        """Prune the base at once and train it.

        Args:
            macs: The target, as a share of the base's MACs; from 1 nothing is pruned.
            length: Number of trials.
        """
        start = self._base
        if macs < 1:
            change = PruneToMacs(fraction=macs, min_channels=SEARCH.min_channels)
            start = prune_to_macs(start, change, self._bench.data.resolution)
        model = load_student(start)
        teachers = (LEARNERS[-1],) if self._row.methods else ()
        adapters: Mapping[str, Any] = {}
        for number in range(1, length + 1):
            _, adapters = self._trainer.train(model, self._row, teachers, adapters, number)
        return model, {"macs": self.macs(start), "length": length}

    def macs(self, found: Student) -> float:
        """Return the MACs of a student as a share of the base's."""
        return macs_of(self._bench, found) / macs_of(self._bench, self._base)

    def _strategy(self) -> TaughtStrategy:
        settings = JointDetNasSettings(
            student_frozen_trials=SEARCH.frozen_trials,
            prune_fraction=SEARCH.prune_fraction,
            min_channels=SEARCH.min_channels,
        )
        common: dict[str, Any] = {
            "seed": self._trainer.seed,
            "max_trials": SEARCH.num_trials,
            "control": False,
            "registered": REGISTERED,
            "measured": tuple(self._measured(each) for each in REGISTERED),
        }
        if self._row.search == "random search":
            shared = {name: getattr(settings, name) for name in PairSettings.__slots__}
            return RandomSearch(settings=PairSettings(**shared), **common)
        return JointDetNas(settings=settings, patience=SEARCH.num_trials, **common)

    def _measured(self, teacher: RegisteredTeacher) -> TeacherAp:
        self._bench.teacher(teacher.teacher)
        card = self._bench.folder / f"teacher {teacher.teacher}.json"
        return TeacherAp(teacher=teacher, ap=json.loads(card.read_text())["validation"])

    def _completion(self, proposal: Proposal, sequence: int) -> Completion:
        try:
            done = self._trial(proposal)
        except NothingToDo:
            return Completion(sequence=sequence, proposal=proposal, outcome=Outcome.NO_OP)
        self._done[proposal.name] = done
        size = self._bench.data.resolution
        found = score(
            ap=max(0.0, done.ap),
            macs=self.macs(done.student),
            base_macs=1.0,
            resolution=size,
            base_resolution=size,
        )
        return Completion(
            sequence=sequence,
            proposal=proposal,
            outcome=Outcome.SUCCEEDED,
            architecture=done.student.detector.architecture,
            score=found,
        )

    def _trial(self, proposal: Proposal) -> Trained:
        if proposal.parent is None:
            ap = self._bench.validation_ap(load_student(self._base))
            return Trained(student=self._base, teacher="", adapters={}, ap=ap)
        parent = self._done[proposal.parent]
        start = edited(parent.student, proposal.change, proposal.seed)
        teacher, model = str(proposal.teacher), load_student(start)
        inherited = parent.adapters if teacher == parent.teacher else {}
        number = proposal.number + 1
        _, adapters = self._trainer.train(model, self._row, (teacher,), inherited, number)
        return Trained(
            student=replace(start, weights=dict(model.state_dict())),
            teacher=teacher,
            adapters=adapters,
            ap=self._bench.validation_ap(model),
        )


def base_of(bench: Workbench, seed: int) -> Student:
    """Return the half-trained student as a base."""
    family = Family.FASTER_RCNN
    weights = dict(bench.student(family, seed).state_dict())
    return Student(detector=student(family, bench.data), weights=weights)


def macs_of(bench: Workbench, found: Student) -> float:
    """Return the MACs of a student for one image of the data set's size."""
    return count(found.detector, bench.data.resolution).macs


def edited(parent: Student, change: Any, seed: int) -> Student:
    """Apply the change of a trial to its parent.

    Raises:
        NothingToDo: The change would change nothing.
    """
    if isinstance(change, Train | MutateTeacher):
        return parent
    return evolve(parent, change, generator=torch.Generator().manual_seed(seed))


def drawn_action(parent: Student, rng: random.Random) -> Action:
    """Draw an action as a search does: first its kind, then one of that kind."""
    legal = legal_actions(
        parent.detector.architecture,
        prune_fraction=SEARCH.prune_fraction,
        min_channels=SEARCH.min_channels,
    )
    return rng.choice(legal[rng.choice(list(legal))])
