"""The responses of the API about the forecast cost of a request."""

from api.schemas.base import Schema


class Range(Schema):
    """A range, from the shortest to the longest possible course of a run."""

    least: float
    """Smallest value, of the shortest possible course."""
    most: float
    """Largest value, of the longest possible course."""


class PoolForecast(Schema):
    """The forecast cost of training a pool; null where nothing is known to forecast it from."""

    refusals: list[str]
    """Reasons why the pool would be refused now; empty if it would be accepted."""
    epochs: int
    """Number of epochs, summed over all phases."""
    worker_hours: float | None
    """Hours of training, summed over all workers."""
    gpu_hours: float | None
    """Hours of training, summed over all GPUs."""
    disk_bytes: float | None
    """Largest disk space that the files of the pool need, in bytes."""
    basis: list[str]
    """Basis of the forecast: earlier pools on the data set, or an estimate."""
    learning_rates: list[str] = []
    """Learning rates that the trainings will have for the numbers of images a step, one sentence
    each."""


class ForecastPart(Schema):
    """One part of a run: its trainings, their epochs, their hours."""

    trainings: Range
    """Number of trainings of this part."""
    epochs: Range
    """Number of epochs, summed over the trainings."""
    worker_hours: Range | None
    """Hours of training, summed over all workers; null where nothing is known of it."""


class Forecast(Schema):
    """The forecast cost of a search or a distillation; null where nothing is known to forecast it
    from."""

    refusals: list[str]
    """Reasons why the run would be refused now; empty if it would be accepted."""
    trials: Range
    """Number of search trials, or of stages of a distillation; the base is one more."""
    controls: Range
    """Number of control trials at the end of the search, one finishing each chain included."""
    search: ForecastPart
    """Base and search trials, with repetitions and confirmations; of a distillation, base and
    stages."""
    finish: ForecastPart
    """Finishing trainings of the best detectors, after the search trials."""
    worker_hours: Range | None
    """Hours of training of the whole run with its controls, summed over all workers."""
    gpu_hours: Range | None
    """Hours of training of the whole run with its controls, summed over all GPUs."""
    disk_bytes: float | None
    """Largest disk space that the files of the run need, in bytes."""
    basis: list[str]
    """Basis of the forecast: earlier trials on the data set, or an estimate."""
    short_trials: str | None = None
    """How well short trials ranked detectors in the shipped benchmark, as a sentence. Null for a
    run that does not choose detectors by the scores of its trials."""
    teachers_warning: str | None = None
    """Why the teachers of a search will hardly help, with what to do: none that was measured
    exceeds the base of an earlier search by a margin. Null if one does, or is not known."""
    learning_rates: list[str] = []
    """Learning rates that the trainings will have for the numbers of images a step, one sentence
    each."""
    method_warnings: list[str] = []
    """Distillation methods that teach nothing in the first trials, one sentence each."""
