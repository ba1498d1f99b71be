"""Fetches a search's trials, counts their backbones, and draws the figures of its analytics."""

from pathlib import Path

from api import schemas
from api.client import Client
from cli.errors import fail
from cli.tools.plots import drawing
from searchd.domain.accuracy import ApKind
from searchd.domain.architecture import Architecture
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import Teaching
from searchd.domain.trial import TrialRole
from searchd.search.analytics import (
    Analysed,
    BackboneSizes,
    RecordedTrial,
    StageMacs,
    front,
    gains_by,
    generations,
    generations_of,
    hypervolumes,
    index_of_best,
    with_gains,
)
from searchd.search.history import OperatingPoint
from searchd.search.macs_and_latency import TimedTrial, order_agreement, source

_COSTS = {
    Cost.MACS: (1e6, "multiply-accumulates of one image (M)"),
    Cost.PARAMS: (1e6, "parameters (M)"),
    Cost.LATENCY: (1e-3, "predicted latency of one batch (ms)"),
}
"""The unit and the label of the axis of each cost."""


def fetch(client: Client, search: str) -> Analysed:
    """Fetch a search's scored trials from the service and count their backbones.

    Controls, repetitions and confirmations are left out: the search did not find them. Finished
    detectors are on the front, and one of them may be the best.

    Raises:
        typer.Exit: No trial was scored yet.
    """
    found = client.get_search(search)
    scored = [row for row in client.trials(search) if row.score is not None]
    rows = [row for row in scored if row.role in (TrialRole.BASE, TrialRole.SEARCH)]
    finished = [row for row in scored if row.role is TrialRole.FINISH]
    if not rows:
        raise fail(f"search {found.name} has no scored trial yet")
    rows.sort(key=lambda row: row.completion or 0)
    kind = found.spec.score.accuracy
    recorded = [_recorded(row, kind) for row in rows]
    backbones = [_backbone(client, row) for row in rows]
    counter = _Counter(client, found)
    best = next(
        (row for row in finished if row.id == found.best_trial_id),
        rows[index_of_best(recorded, found.best_trial_id)],
    )
    return Analysed(
        trials=with_gains(recorded),
        sizes=tuple(
            BackboneSizes(
                student=counter.params(backbone),
                teacher=counter.teacher(row.chosen_teacher or row.proposal.teacher),
            )
            for row, backbone in zip(rows, backbones, strict=True)
        ),
        before=counter.stages(rows[0].name, backbones[0]),
        after=counter.stages(best.name, _backbone(client, best)),
        finished=with_gains([*recorded, *(_recorded(row, kind) for row in finished)])[len(rows) :],
        resolution=counter.resolution,
        cost=found.spec.score.cost,
        accuracy=kind,
        timed=tuple(_timed(row, found.spec.score.cost) for row in (*rows, *finished)),
        timed_by=source(found.spec.score.device),
    )


def plot(analysed: Analysed, folder: Path) -> list[Path]:
    """Draw every figure into the folder, which is created if missing, and return the files."""
    drawn = {
        "scores.png": _plot_scores,
        "gains.png": _plot_gains,
        "stage_macs.png": _plot_stages,
        "teachers.png": _plot_sizes,
        "front.png": _plot_front,
        "latency.png": _plot_latency,
    }
    for name, draw in drawn.items():
        draw(analysed, folder / name)
    return [folder / name for name in drawn]


class _Counter:
    """Counts parameters and multiply-accumulates, of equal backbones once."""

    def __init__(self, client: Client, search: schemas.SearchDetails) -> None:
        # Imported here because it imports torch, which no other command on searches needs.
        from detection.measurement.complexity import count_backbone

        self._count_backbone = count_backbone
        self.resolution: Resolution = search.spec.score.base_resolution
        self._client, self._search = client, search
        self._params: dict[Architecture, int] = {}

    def params(self, architecture: Architecture) -> int:
        if architecture not in self._params:
            # Parameters do not depend on the resolution; a small one is faster.
            self._params[architecture] = self._count_backbone(
                architecture, Resolution(64, 64)
            ).params
        return self._params[architecture]

    def teacher(self, teacher: Teaching | None) -> int | None:
        """Return the teacher's parameters, or None if it is not a subnet of the pool."""
        if not isinstance(teacher, Subnet):
            return None
        assert self._search.pool_id is not None  # where the subnet is from
        space = self._client.get_pool(self._search.pool_id).spec.space.space
        return self.params(space.architecture(teacher))

    def stages(self, trial: str, architecture: Architecture) -> StageMacs:
        counted = self._count_backbone(architecture, self.resolution)
        return StageMacs(trial=trial, stem=counted.stem_macs, stages=counted.stage_macs)


def _backbone(client: Client, row: schemas.Trial) -> Architecture:
    detector = client.get_trial(row.id).detector
    assert detector is not None  # of trials that were scored
    return detector.architecture


def _recorded(row: schemas.Trial, kind: ApKind) -> RecordedTrial:
    assert row.score is not None  # only scored trials are fetched
    return RecordedTrial(
        id=row.id,
        name=row.name,
        parent_id=row.parent_id,
        action=row.proposal.change.kind,
        score=row.score,
        methods=_methods(row),
        points=tuple(
            OperatingPoint(
                resolution=each.resolution,
                macs=each.macs,
                ap=each.ap,
                counted=each.cost,
                ranked=(each.mask_ap or 0.0) if kind is ApKind.MASK_AP else None,
            )
            for each in row.evaluations
        ),
    )


def _methods(row: schemas.Trial) -> tuple[str, ...] | None:
    methods = row.proposal.methods
    if methods is None or row.proposal.teacher is None:
        return None
    return tuple(each.name.value for each in methods.methods)


def _timed(row: schemas.Trial, cost: Cost) -> TimedTrial:
    at = max(row.evaluations, key=lambda each: each.resolution.area)
    predicted = at.cost if cost is Cost.LATENCY else None
    latency_s = at.latency_s if predicted is None else predicted
    return TimedTrial(trial=row.name, macs=at.macs, latency_s=latency_s)


def _plot_scores(analysed: Analysed, path: Path) -> None:
    trials = analysed.trials
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
        axes.locator_params(axis="x", integer=True)


def _plot_gains(analysed: Analysed, path: Path) -> None:
    trials = analysed.trials
    actions = gains_by(trials, [trial.action for trial in trials])
    by_generation = gains_by(trials, generations_of(trials))
    with drawing(path, columns=2) as (left, right):
        left.bar(list(actions), [100 * each.sum_of_gains for each in actions.values()])
        left.set(ylabel="sum of positive score gains (points)")
        left.tick_params(axis="x", rotation=20)
        right.bar(list(by_generation), [100 * each.success_rate for each in by_generation.values()])
        right.locator_params(axis="x", integer=True)
        right.set(xlabel="generation", ylabel="trials that gained on their parent (%)")


def _plot_stages(analysed: Analysed, path: Path) -> None:
    label = f"multiply-accumulates at {analysed.resolution} (M)"
    with drawing(path, xlabel="part of the backbone", ylabel=label) as axes:
        for offset, name, each in (
            (-0.2, "before", analysed.before),
            (0.2, "after", analysed.after),
        ):
            macs = [each.stem, *each.stages]
            axes.bar(
                [i + offset for i in range(len(macs))],
                [value / 1e6 for value in macs],
                width=0.4,
                label=f"{name}: {each.trial}",
            )
        axes.set_xticks(range(5), ["stem", "stage 1", "stage 2", "stage 3", "stage 4"])


def _plot_sizes(analysed: Analysed, path: Path) -> None:
    taught = [
        (size.student / 1e6, size.teacher / 1e6, 100 * trial.score)
        for trial, size in zip(analysed.trials, analysed.sizes, strict=True)
        if size.teacher is not None
    ]
    with drawing(
        path, xlabel="student backbone (M parameters)", ylabel="teacher backbone (M parameters)"
    ) as axes:
        columns = list(zip(*taught, strict=True)) or [(), (), ()]
        dots = axes.scatter(columns[0], columns[1], c=columns[2], s=24)
        axes.figure.colorbar(dots, label="score (%)")


def _plot_latency(analysed: Analysed, path: Path) -> None:
    label = f"latency (ms), {analysed.timed_by}"
    with drawing(path, xlabel="multiply-accumulates of one image (M)", ylabel=label) as axes:
        tau = order_agreement(analysed.timed)
        axes.scatter(
            [each.macs / 1e6 for each in analysed.timed],
            [1000 * each.latency_s for each in analysed.timed],
            s=14,
            label="a detector" if tau is None else f"a detector; Kendall's tau {tau:.2f}",
        )


def _plot_front(analysed: Analysed, path: Path) -> None:
    trials, found = analysed.trials, front((*analysed.trials, *analysed.finished))
    with drawing(path, columns=2) as (left, right):
        every = [point for t in (*trials, *analysed.finished) for point in t.points]
        unit, label = _COSTS[analysed.cost]
        left.scatter([p.cost / unit for p in every], [100 * p.accuracy for p in every], s=14)
        left.step(
            [each.point.cost / unit for each in found],
            [100 * each.point.accuracy for each in found],
            where="post",
            color="tab:red",
            label="Pareto front",
        )
        left.set(xlabel=label, ylabel=f"{analysed.accuracy.words} on validation (%)")
        right.step(range(len(trials)), hypervolumes(trials), where="post")
        right.set(xlabel="trials ended after the base", ylabel="hypervolume (share of the plane)")
