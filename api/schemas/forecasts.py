"""What the API answers about what work would take."""

from api.schemas.resources import Schema


class Range(Schema):
    """Between the shortest and the longest course that a search may take."""

    least: float
    most: float


class PoolForecast(Schema):
    """What a pool's training would take; None where nothing is known to tell it from."""

    refusals: list[str]
    """Why it would be refused now; empty if it would be accepted."""
    epochs: int
    """Of all phases."""
    worker_hours: float | None
    """Of all workers together."""
    gpu_hours: float | None
    disk_bytes: float | None
    """At most."""
    basis: list[str]
    """What it was told from: earlier pools on the data set, or an estimate."""


class Forecast(Schema):
    """What a search or a distillation would take; None where nothing is known to tell it from."""

    refusals: list[str]
    """Why it would be refused now; empty if it would be accepted."""
    trials: Range
    """Of the search itself, or stages of the distillation; the base is one more."""
    controls: Range
    worker_hours: Range | None
    """Base, trials and controls."""
    gpu_hours: Range | None
    disk_bytes: float | None
    """At most."""
    basis: list[str]
    """What it was told from: earlier trials on the data set, or an estimate."""
