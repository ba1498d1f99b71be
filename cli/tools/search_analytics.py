"""The analytics of a search: the records of the service as one document and as plots."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from api import schemas
from api.client import Client
from cli.errors import fail
from cli.tools.plots import drawing
from searchd.domain.architecture import Architecture
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import Teaching
from searchd.domain.trial import TrialRole
from searchd.search.analytics import (
    Gains,
    ScoredTrial,
    front,
    gains_by,
    generations,
    generations_of,
    hypervolumes,
)
from searchd.search.history import OperatingPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The numbers of parameters of the backbones of a trial."""

    student: int
    teacher: int | None
    """None if the trial was trained without a teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMacs:
    """The multiply-accumulates of each part of a trial's backbone."""

    trial: str
    stem: float
    stages: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The data for the analytics of a search, in the order in which the trials ended."""

    trials: tuple[ScoredTrial, ...]
    sizes: tuple[Sizes, ...]
    before: StageMacs
    """The MACs of the first trial."""
    after: StageMacs
    """The MACs of the best trial."""
    resolution: Resolution
    """The base resolution of the score, at which MACs are counted."""


def gather(client: Client, search: str) -> Gathered:
    """Read the scored trials of a search from the service, and count their backbones.

    Controls, repetitions and confirmations are left out, since the search did not find them.

    Raises:
        typer.Exit: No trial was scored yet.
    """
    found = client.get_search(search)
    rows = [
        row
        for row in client.trials(search)
        if row.score is not None and row.role in (TrialRole.BASE, TrialRole.SEARCH)
    ]
    if not rows:
        raise fail(f"search {found.name} has no scored trial yet")
    rows.sort(key=lambda row: row.completion or 0)
    scores = {row.id: row.score for row in rows}
    backbones = [_backbone(client, row) for row in rows]
    counter = _Counter(client, found)
    # Like in the service, the best trial is a search trial if there is one.
    best = max(range(len(rows)), key=lambda i: (rows[i].id == found.best_trial_id, rows[i].score))
    return Gathered(
        trials=tuple(_scored(row, scores.get(row.parent_id or "")) for row in rows),
        sizes=tuple(
            Sizes(
                student=counter.params(backbone),
                teacher=counter.teacher(row.chosen_teacher or row.proposal.teacher),
            )
            for row, backbone in zip(rows, backbones, strict=True)
        ),
        before=counter.stages(rows[0].name, backbones[0]),
        after=counter.stages(rows[best].name, backbones[best]),
        resolution=counter.resolution,
    )


def document(gathered: Gathered) -> dict[str, Any]:
    """Return the analytics as plain values."""
    trials = gathered.trials
    numbers = generations_of(trials)
    rows = zip(trials, numbers, hypervolumes(trials), gathered.sizes, strict=True)
    return {
        "trials": [
            {
                "trial": trial.trial,
                "generation": number,
                "action": trial.action,
                "score": trial.score,
                "gain": trial.gain,
                "hypervolume": volume,
                "student_backbone_params": size.student,
                "teacher_backbone_params": size.teacher,
            }
            for trial, number, volume, size in rows
        ],
        "generations": [asdict(each) for each in generations(trials)],
        "gains_by_action": _shown(gains_by(trials, [trial.action for trial in trials])),
        "gains_by_generation": _shown(gains_by(trials, numbers)),
        "stage_macs": {
            "resolution": str(gathered.resolution),
            "before": asdict(gathered.before),
            "after": asdict(gathered.after),
        },
        "front": [
            {"trial": each.trial, **asdict(each.point), "resolution": str(each.point.resolution)}
            for each in front(trials)
        ],
    }


def plot(gathered: Gathered, folder: Path) -> list[Path]:
    """Draw the figures into the folder, which is created if it is missing; return the files."""
    drawn = {
        "scores.png": _plot_scores,
        "gains.png": _plot_gains,
        "stage_macs.png": _plot_stages,
        "teachers.png": _plot_sizes,
        "front.png": _plot_front,
    }
    for name, draw in drawn.items():
        draw(gathered, folder / name)
    return [folder / name for name in drawn]


class _Counter:
    """Counts each backbone once."""

    def __init__(self, client: Client, search: schemas.SearchDetails) -> None:
        # Imported here since it imports torch, which no other command on searches needs.
        from detection.measurement.complexity import count_backbone

        self._count_backbone = count_backbone
        self.resolution: Resolution = search.spec.score.base_resolution
        self._client, self._search = client, search
        self._params: dict[Architecture, int] = {}

    def params(self, architecture: Architecture) -> int:
        if architecture not in self._params:
            # Parameters do not depend on the resolution; a small one is quicker.
            self._params[architecture] = self._count_backbone(
                architecture, Resolution(64, 64)
            ).params
        return self._params[architecture]

    def teacher(self, teacher: Teaching | None) -> int | None:
        """Return the parameters of a teacher; None unless it is a subnet, as in every search."""
        if not isinstance(teacher, Subnet):
            return None
        space = self._client.get_pool(self._search.pool_id).spec.space.space
        return self.params(space.architecture(teacher))

    def stages(self, trial: str, architecture: Architecture) -> StageMacs:
        counted = self._count_backbone(architecture, self.resolution)
        return StageMacs(trial=trial, stem=counted.stem_macs, stages=counted.stage_macs)


def _backbone(client: Client, row: schemas.Trial) -> Architecture:
    detector = client.get_trial(row.id).detector
    assert detector is not None  # of trials that were scored
    return detector.architecture


def _scored(row: schemas.Trial, parent: float | None) -> ScoredTrial:
    assert row.score is not None  # chosen so
    return ScoredTrial(
        trial=row.name,
        action=row.proposal.change.kind,
        score=row.score,
        gain=None if parent is None else row.score - parent,
        points=tuple(
            OperatingPoint(resolution=each.resolution, macs=each.macs, ap=each.ap)
            for each in row.evaluations
        ),
    )


def _shown(gains: dict[Any, Gains]) -> dict[str, Any]:
    return {
        str(key): {**asdict(each), "success_rate": each.success_rate} for key, each in gains.items()
    }


def _plot_scores(gathered: Gathered, path: Path) -> None:
    trials = gathered.trials
    with drawing(path, xlabel="generation", ylabel="score (%)") as axes:
        numbers = generations_of(trials)
        axes.scatter(numbers, [100 * t.score for t in trials], s=14, label="a trial")
        begun = generations(trials)
        axes.step(
            [each.generation for each in begun],
            [100 * each.score for each in begun],
            where="post",
            color="tab:red",
            label="best so far",
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _plot_gains(gathered: Gathered, path: Path) -> None:
    trials = gathered.trials
    actions = gains_by(trials, [trial.action for trial in trials])
    by_generation = gains_by(trials, generations_of(trials))
    with drawing(path, columns=2) as (left, right):
        left.bar(list(actions), [100 * each.sum_of_gains for each in actions.values()])
        left.set(ylabel="sum of positive score gains (points)")
        left.tick_params(axis="x", rotation=20)
        right.bar(list(by_generation), [100 * each.success_rate for each in by_generation.values()])
        right.xaxis.set_major_locator(MaxNLocator(integer=True))
        right.set(xlabel="generation", ylabel="trials that gained on their parent (%)")


def _plot_stages(gathered: Gathered, path: Path) -> None:
    label = f"multiply-accumulates at {gathered.resolution} (M)"
    with drawing(path, xlabel="part of the backbone", ylabel=label) as axes:
        for offset, name, each in (
            (-0.2, "before", gathered.before),
            (0.2, "after", gathered.after),
        ):
            macs = [each.stem, *each.stages]
            axes.bar(
                [i + offset for i in range(len(macs))],
                [value / 1e6 for value in macs],
                width=0.4,
                label=f"{name}: {each.trial}",
            )
        axes.set_xticks(range(5), ["stem", "stage 1", "stage 2", "stage 3", "stage 4"])


def _plot_sizes(gathered: Gathered, path: Path) -> None:
    taught = [
        (size.student / 1e6, size.teacher / 1e6, 100 * trial.score)
        for trial, size in zip(gathered.trials, gathered.sizes, strict=True)
        if size.teacher is not None
    ]
    with drawing(
        path, xlabel="student backbone (M parameters)", ylabel="teacher backbone (M parameters)"
    ) as axes:
        columns = list(zip(*taught, strict=True)) or [(), (), ()]
        dots = axes.scatter(columns[0], columns[1], c=columns[2], s=24)
        axes.figure.colorbar(dots, label="score (%)")


def _plot_front(gathered: Gathered, path: Path) -> None:
    trials, found = gathered.trials, front(gathered.trials)
    with drawing(path, columns=2) as (left, right):
        every = [point for trial in trials for point in trial.points]
        left.scatter([p.macs / 1e6 for p in every], [100 * p.ap for p in every], s=14)
        left.step(
            [each.point.macs / 1e6 for each in found],
            [100 * each.point.ap for each in found],
            where="post",
            color="tab:red",
            label="Pareto front",
        )
        left.set(xlabel="multiply-accumulates of one image (M)", ylabel="AP on validation (%)")
        right.step(range(len(trials)), hypervolumes(trials), where="post")
        right.set(xlabel="trials ended after the base", ylabel="hypervolume (share of the plane)")
