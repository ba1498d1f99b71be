"""Tables of forecast costs."""

import typer

from api.schemas.forecasts import Forecast, ForecastPart, PoolForecast, Range
from cli.errors import FAILED
from cli.output import Format, show_one


def show_forecast(found: Forecast | PoolForecast, output: Format) -> None:
    """Print a forecast.

    Raises:
        typer.Exit: The request would be refused; the exit code is 1.
    """
    show_one(found, _rows(found), output)
    if found.refusals:
        raise typer.Exit(FAILED)


def _rows(found: Forecast | PoolForecast) -> dict[str, object]:
    if isinstance(found, Forecast):
        finishes = found.finish.trainings.most > 0
        counts: dict[str, object] = {
            "trials": _range(found.trials),
            "search": _part(found.search) if finishes else None,
            "finish": _part(found.finish) if finishes else None,
            "controls": _range(found.controls),
        }
    else:
        counts = {"epochs": found.epochs}
    return {
        **counts,
        "worker-hours": _range(found.worker_hours),
        "GPU-hours": _range(found.gpu_hours),
        "disk": found.disk_bytes and f"at most {found.disk_bytes / 1e9:.3g} GB",
        "basis": "; ".join(found.basis),
        "short trials": found.short_trials if isinstance(found, Forecast) else None,
        "learning rates": "; ".join(found.learning_rates) or None,
        "warning": _warnings(found) if isinstance(found, Forecast) else None,
        "refused": "; ".join(found.refusals) or None,
    }


def _warnings(found: Forecast) -> str | None:
    return "; ".join(filter(None, (found.teachers_warning, *found.method_warnings))) or None


def _part(part: ForecastPart) -> str:
    counted = f"{_range(part.trainings)} trainings, {_range(part.epochs)} epochs"
    hours = _range(part.worker_hours)
    return counted if hours is None else f"{counted}, {hours} worker-hours"


def _range(found: Range | float | None) -> str | None:
    if found is None:
        return None
    if not isinstance(found, Range):
        return f"{found:.3g}"
    least, most = f"{found.least:.3g}", f"{found.most:.3g}"
    return least if least == most else f"{least} to {most}"
