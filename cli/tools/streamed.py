"""Loads detectors of a service and measures their streaming AP on this machine. Imports torch."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from api import schemas
from api.client import Client
from cli.errors import fail
from cli.progress import progress
from cli.tools.trained_trials import TrainedTrial, load_trial
from detection.data.coco import CocoSplit
from detection.measurement.evaluation import Detection, predict
from detection.measurement.latency import measure_runs
from detection.measurement.streaming import (
    Stream,
    StreamingAccuracy,
    check_sequences,
    streaming_accuracy,
)
from searchd.domain.score import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How streams are measured."""

    split: str
    latency: str | float
    """Where latencies come from: trial, device or here; or seconds."""
    fps: float
    seed: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """The streaming AP of one detector."""

    trial: str
    resolution: str
    latency_s: float
    """Median seconds that a frame took."""
    result: StreamingAccuracy


def of_trials(url: str, trials: Sequence[str], settings: Settings) -> list[Streamed]:
    """Measure the detectors of trials, each at the resolution of its best score.

    Raises:
        ApiError: There is no such trial, or it has no detector.
        DataError: The split has no sequences.
        InvalidValueError: The frame rate is not above 0.
        typer.Exit: There is no such split, or no such latency.
    """
    with Client(url) as client:
        loaded = (load_trial(client, trial, settings.device) for trial in trials)
        return [_streamed(client, each, _best(each), settings) for each in loaded]


def of_front(url: str, search: str, settings: Settings) -> list[Streamed]:
    """Measure the detectors of a search's Pareto front, each at its resolution; see `of_trials`."""
    with Client(url) as client:
        points = client.pareto(search).front
        if not points:
            raise fail(f"search {search} has no evaluated detector yet")
        return [
            _streamed(
                client,
                load_trial(client, point.trial_id, settings.device),
                point.evaluation,
                settings,
            )
            for point in points
        ]


def _best(trial: TrainedTrial) -> schemas.Evaluation:
    assert trial.row.best is not None  # it was evaluated
    return trial.row.best


def _streamed(
    client: Client, trial: TrainedTrial, at: schemas.Evaluation, settings: Settings
) -> Streamed:
    split = _split(trial, settings.split)
    stream = Stream(
        fps=settings.fps,
        latencies_s=_latencies(client, trial, at, settings.latency),
        seed=settings.seed,
    )
    with progress(f"images of {trial.row.id}", len(split)) as advance:
        batches = predict(trial.model, split, at.resolution, device=trial.device, batch_size=1)
        found = list(_told(batches, advance))
    return Streamed(
        trial=trial.row.id,
        resolution=str(at.resolution),
        latency_s=statistics.median(stream.latencies_s),
        result=streaming_accuracy(split, found, stream),
    )


def _told(batches: Iterable[list[Detection]], advance: Callable[[], None]) -> Iterator[Detection]:
    for batch in batches:
        yield from batch
        advance()


def _split(trial: TrainedTrial, name: str) -> CocoSplit:
    """Return a split of the data set of a trial, which has sequences."""
    splits = trial.dataset.spec.splits
    if name not in splits:
        raise fail(
            f"data set {trial.dataset.name} has no {name} split; it has {', '.join(splits)}. Give "
            "another --split"
        )
    split = CocoSplit(splits[name])
    check_sequences(split)
    return split


def _latencies(
    client: Client, trial: TrainedTrial, at: schemas.Evaluation, latency: str | float
) -> list[float]:
    """Return the seconds that a frame may take."""
    if isinstance(latency, float):
        return [latency]
    if latency == "here":
        return measure_runs(trial.model, at.resolution, device=trial.device)
    return [at.latency_s if latency == "trial" else _on_device(client, trial, at)]


def _on_device(client: Client, trial: TrainedTrial, at: schemas.Evaluation) -> float:
    """Return the seconds of one image on the device of the run: measured, or else predicted."""
    score = trial.run.spec.score
    predicted = at.cost if score.cost is Cost.LATENCY else None
    seconds = predicted if at.device_latency_s is None else at.device_latency_s
    if seconds is None or score.device is None:
        raise fail(
            f"trial {trial.row.id} has no latency on a device: {trial.run.name} does not count "
            "latency as cost; give --latency trial, here or a number of milliseconds"
        )
    batch = client.get_device(score.device).spec.batch
    if batch > 1:
        raise fail(
            f"device {score.device} detects {batch} images at once, which says nothing about one "
            "frame; give --latency trial, here or a number of milliseconds"
        )
    return seconds
