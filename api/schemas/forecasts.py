"""Answers of the API: forecasts of searches, distillations and pools."""

from api.schemas.resources import Schema


class Range(Schema):
    """The values for the shortest and the longest course of a run."""

    least: float
    most: float


class PoolForecast(Schema):
    """The forecast of a pool's training; None where nothing is known to compute it."""

    refusals: list[str]
    """Why it would be refused now; empty if it would be accepted."""
    epochs: int
    """The epochs of all phases."""
    worker_hours: float | None
    """Hours of all workers together."""
    gpu_hours: float | None
    disk_bytes: float | None
    """An upper bound, in bytes."""
    basis: list[str]
    """How it was computed, in words: from earlier pools on the data set, or as an estimate."""


class Forecast(Schema):
    """The forecast of a search or a distillation; None where nothing is known to compute it."""

    refusals: list[str]
    """Why it would be refused now; empty if it would be accepted."""
    trials: Range
    """The number of search trials, or of a distillation's stages; the base is one more."""
    controls: Range
    worker_hours: Range | None
    """Hours of workers for base, trials and controls."""
    gpu_hours: Range | None
    disk_bytes: float | None
    """An upper bound, in bytes."""
    basis: list[str]
    """How it was computed, in words: from earlier trials on the data set, or as an estimate."""
