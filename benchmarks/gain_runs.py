"""Trains the rows of the table of gains. What is stored is not trained again.

Several processes can share a folder: each takes the rows that no other one trains.
"""

import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gain_bench import LEARNERS, Workbench, lock, say, store, training_spec
from benchmarks.gain_pruning import pruned
from benchmarks.gain_search import Search
from benchmarks.gain_settings import LENGTHS, NUM_TRIALS, ROWS, SEARCH, Row
from detection.distillation.distiller import Distiller, pair_of
from detection.morphism import NothingToDo
from detection.training import Training
from searchd.domain.distillation_methods import MethodName
from searchd.domain.distillation_plan import STUDENT_NAME, OrderAlgorithm
from searchd.domain.score import score
from searchd.search.teacher_order import Pool, choose
from searchd.spec import MethodSpec

NEED_CLASSIFIER = (MethodName.DICOD_CLASSIFICATION, MethodName.DICOD_LOCALISATION)


class Trainer:
    """Trains the rows of one seed."""

    def __init__(self, bench: Workbench, seed: int) -> None:
        self.bench, self.seed = bench, seed

    def run(self, row: Row) -> dict[str, Any] | None:
        """Return a row's result, which is trained unless it is stored; None if another process
        trains it, or a row that it needs."""
        path = self.bench.folder / f"{row.name}, seed {self.seed}.json"
        if path.exists():
            return dict(json.loads(path.read_text()))
        if row.after is not None and self.run(ROWS[row.after]) is None:
            return None
        with lock(path.with_suffix(".lock"), wait=False) as mine:
            if not mine or path.exists():
                return self.run(row) if mine else None
            return self._trained(row)

    def _trained(self, row: Row) -> dict[str, Any] | None:
        if row.order is not None:
            return self._order(row)
        if row.score_of is not None:
            return self._score(row, ROWS[row.score_of])
        self.bench.student(row.family, self.seed)
        for name in row.teachers:
            self.bench.teacher(name)
        started = time.monotonic()  # without what all rows share
        if row.policy is not None:
            model, found = Trials(self, row).run()
        elif row.search == "pruned":
            base = self._pruned(row)
            if base is None:
                return None
            model, found = base
        elif row.search is not None:
            model, found = Search(self, row).run()
        elif row.pruned_by is not None:
            model, macs = pruned(self.bench, row.pruned_by, self.seed)
            losses, _ = self.train(model, row, (), {}, 1)
            found = {"losses": losses, "macs": macs}
        else:
            model, found = self._stage(row)
        return self.bench.stored(f"{row.name}, seed {self.seed}", model, found, started)

    def _stage(self, row: Row) -> tuple[Any, dict[str, Any]]:
        """Train one stage, after the row's earlier ones, and store its weights."""
        model = self.bench.student(row.family, self.seed)
        stored: dict[str, Any] = {"adapters": {}}
        if row.after is not None:
            stored = torch.load(self._weights(row.after), weights_only=True)
            model.load_state_dict(stored["model"])
        same = row.after is not None and ROWS[row.after].teachers == row.teachers
        inherited = stored["adapters"] if same else {}
        training, distiller = self._training(model, row, row.teachers, inherited, depth(row))
        if row.keeps_momentum:
            continue_momentum(training, stored["optimizer"])
        losses, adapters = finish(training, distiller)
        found = {"model": model.state_dict(), "adapters": dict(adapters)}
        found["optimizer"] = training.state_dict()["optimizer"]
        torch.save(found, self._weights(row.name))
        return model, {"losses": losses}

    def train(
        self,
        model: Any,
        row: Row,
        teachers: Sequence[str],
        adapters: Mapping[str, Any],
        number: int,
    ) -> tuple[Mapping[str, float], Mapping[str, Any]]:
        """Train a student by the methods of a row.

        Args:
            model: The student; its weights change.
            row: The row.
            teachers: The teachers that teach at once; none for plain training.
            adapters: Inherited adapters; empty for new ones.
            number: Number of the training in its sequence, from 1. It and the seed decide the
                batches.

        Returns:
            The mean losses of the last epoch, and the adapters.
        """
        return finish(*self._training(model, row, teachers, adapters, number))

    def _training(
        self,
        model: Any,
        row: Row,
        teachers: Sequence[str],
        adapters: Mapping[str, Any],
        number: int,
    ) -> tuple[Training, Distiller | None]:
        """Return a training before its first step, and its distiller; see `train`."""
        torch.manual_seed(self.seed)
        distiller = self._distiller(model, row, teachers)
        if distiller and adapters:
            distiller.load_state_dict(adapters)
        epochs, rate = LENGTHS[row.length]
        spec = training_spec(self.bench.data, epochs, rate * row.rate)
        if row.search is not None:
            spec = spec.model_copy(update={"bn_l1": SEARCH.bn_l1})
        seed = self.seed + 100 * number
        return Training(model, self.bench.train, spec, seed=seed, distiller=distiller), distiller

    def _distiller(self, model: Any, row: Row, names: Sequence[str]) -> Distiller | None:
        if not names or not row.methods:
            return None
        classifier = self.bench.classifier
        methods = [
            MethodSpec(
                name=method.name,
                weight=method.weight,
                options=dict(method.options)
                | ({"classifier": classifier()} if method.name in NEED_CLASSIFIER else {}),
            )
            for method in row.methods
        ]
        teachers = [self.bench.teacher(name) for name in names]
        pairs = [pair_of(model, each, self.bench.train) for each in teachers]
        return Distiller(methods, teachers, pairs)

    def _weights(self, row: str) -> Path:
        return self.bench.folder / f"{row}, seed {self.seed}.pt"

    def _order(self, row: Row) -> dict[str, Any] | None:
        """Return the result of the row of the chosen order, or of its reverse."""
        order = self.chosen_order()
        if row.order == "reverse":
            order = order[::-1]
        name = " > ".join(order if len(order) > 1 else order * 2)
        found = self.run(ROWS[name])
        if found is not None:
            found = found | {"order": name}
            store(self.bench.folder / f"{row.name}, seed {self.seed}.json", found)
        return found

    def _pruned(self, row: Row) -> tuple[Any, dict[str, Any]] | None:
        """Return the base, pruned to the MACs of the best of `joint` and trained as long; None if
        that was not run or has MACs that pruning channels cannot reach."""
        joint = self.run(ROWS["joint"])
        if joint is None:
            return None
        try:
            return Search(self, row).pruned(joint["macs"], joint["length"])
        except NothingToDo as error:
            say(f"{row.name}, seed {self.seed} is not run: {error}")
            return None

    def _score(self, row: Row, search: Row) -> dict[str, Any] | None:
        """Return the score of a search's best on validation and test images in place of AP."""
        found = self.run(search)
        if found is None:
            return None
        size = self.bench.data.resolution
        factor = score(ap=1, macs=found["macs"], base_macs=1, resolution=size, base_resolution=size)
        result = {name: round(factor * found[name], 5) for name in ("validation", "test")}
        result |= {"resampled": [factor * ap for ap in found["resampled"]], "macs": found["macs"]}
        store(self.bench.folder / f"{row.name}, seed {self.seed}.json", result)
        return result

    def chosen_order(self) -> list[str]:
        """Return the order of up to two teachers that MTPD's Algorithm 1 chooses."""
        for name in LEARNERS:
            self.bench.teacher(name)
        performance = {
            name: json.loads((self.bench.folder / f"teacher {name}.json").read_text())["validation"]
            for name in LEARNERS
        }
        costs = self.bench.costs(self.seed)
        pool = Pool(student=STUDENT_NAME, performance=performance, costs=costs, max_teachers=2)
        return [choice.teacher for choice in choose(OrderAlgorithm.BACKWARD_GREEDY, pool)]


class Trials:
    """Consecutive trials of one student, each under the teacher that a policy gives it. Each goes
    on from the best one so far by validation AP."""

    def __init__(self, trainer: Trainer, row: Row) -> None:
        self._trainer, self._row, self._bench = trainer, row, trainer.bench
        self._rng = random.Random(f"{trainer.seed}/{row.name}")

    def run(self) -> tuple[Any, dict[str, Any]]:
        """Train all trials; return the best student, and the teachers with the APs."""
        model = self._bench.student(self._row.family, self._trainer.seed)
        best, best_ap, best_teacher = dict(model.state_dict()), 0.0, ""
        adapters: Mapping[str, Any] = {}
        trials = []
        for number in range(1, NUM_TRIALS + 1):
            model = self._bench.student(self._row.family, self._trainer.seed)
            model.load_state_dict(best)
            name = self._teacher(model, best_teacher)
            inherited = adapters if name == best_teacher else {}
            names = (name,) if name else ()
            _, found = self._trainer.train(model, self._row, names, inherited, number)
            ap = self._bench.validation_ap(model)
            trials.append({"teacher": name, "validation": ap})
            if ap > best_ap:
                best, best_ap, best_teacher, adapters = (
                    dict(model.state_dict()),
                    ap,
                    name,
                    found,
                )
        model.load_state_dict(best)
        return model, {"trials": trials}

    def _teacher(self, model: Any, before: str) -> str:
        """Return the next teacher; `before` is that of the best trial so far, empty at first."""
        match self._row.policy:
            case "fixed":
                return LEARNERS[-1]
            case "random":
                return self._rng.choice(LEARNERS)
            case "dynamic":  # as Joint-DetNAS: the largest first, then a mutation of the best's
                others = [name for name in LEARNERS if name != before]
                return self._rng.choice(others) if before else LEARNERS[-1]
            case "nearest":
                return self._nearest(model)
            case _:
                return ""

    def _nearest(self, model: Any) -> str:
        models = {name: self._bench.teacher(name) for name in LEARNERS} | {STUDENT_NAME: model}
        pairs = [(STUDENT_NAME, name) for name in LEARNERS]
        costs = self._bench.costs_of(models, pairs)[STUDENT_NAME]
        return min(costs, key=lambda name: costs[name])


def finish(
    training: Training, distiller: Distiller | None
) -> tuple[Mapping[str, float], Mapping[str, Any]]:
    """Train to the end; return the mean losses of the last epoch, and the adapters."""
    for _ in training.run():
        pass
    return training.epochs[-1].losses, distiller.state_dict() if distiller else {}


def continue_momentum(training: Training, optimizer: Mapping[str, Any]) -> None:
    """Give a training the momentum of an earlier one with the same parameters, before its first
    step."""
    state = training.state_dict()
    state["optimizer"] = state["optimizer"] | {"state": optimizer["state"]}
    training.load_state_dict(state)


def depth(row: Row) -> int:
    """Return the number of stages of a row, its earlier ones included."""
    return 1 if row.after is None else 1 + depth(ROWS[row.after])
