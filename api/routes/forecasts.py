"""The endpoints that forecast the cost of a request before anything runs."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api import data_roots, schemas
from api.auth import CallerDep
from api.dependencies import ChecksDep, DatabaseDep, RulesDep
from api.new_pools import create_pool
from api.schemas.forecasts import Forecast, PoolForecast
from searchd.domain.errors import ConflictError, InvalidFieldError, InvalidValueError
from searchd.search import forecasts as computed
from searchd.search.short_trials import BENCHMARK
from searchd.spec import DistillationSpec, JointDetNasSpec, PoolSpec, RandomSpec, SearchSpec
from searchd.spec.remarks import (
    rates_of_distillation,
    rates_of_pool,
    rates_of_search,
    warmup_warnings,
)
from searchd.store import Database
from searchd.store.resources import distillations, searches
from searchd.store.runs import forecasts, teacher_aps

router = APIRouter()
S = TypeVar("S", bound=schemas.Schema)


@router.post("/searches/forecast", tags=["searches"])
def forecast_search(
    spec: SearchSpec, database: DatabaseDep, caller: CallerDep, rules: RulesDep, checks: ChecksDep
) -> Forecast:
    """Forecast the cost of a search: trials, hours and disk, and reasons why it would be refused.
    Creates nothing."""
    data_roots.check_search(spec, rules.data_roots)
    found = checks.problems(spec)
    spec = checks.completed(spec)
    refusals = _refusals(found, database, lambda s: searches.create(s, spec, owner=caller.name))
    with database.read() as session:
        forecast = _forecast(Forecast, refusals, forecasts.of_search(session, spec))
        warning = None if refusals else teacher_aps.forecast_warning(session, spec)
        warmups = warmup_warnings(spec, forecasts.train_images(session, spec.dataset))
        return forecast.model_copy(
            update={
                "teachers_warning": warning,
                "short_trials": _short_trials(spec),
                "learning_rates": rates_of_search(spec),
                "method_warnings": warmups,
            }
        )


@router.post("/distillations/forecast", tags=["distillations"])
def forecast_distillation(
    spec: DistillationSpec,
    database: DatabaseDep,
    caller: CallerDep,
    rules: RulesDep,
    checks: ChecksDep,
) -> Forecast:
    """Forecast the cost of a distillation: stages, hours and disk, and reasons why it would be
    refused. Creates nothing."""
    data_roots.check_distillation(spec, rules.data_roots)
    found = checks.problems(spec)
    spec = checks.completed(spec)
    refusals = _refusals(
        found, database, lambda s: distillations.create(s, spec, owner=caller.name)
    )
    with database.read() as session:
        forecast = _forecast(Forecast, refusals, forecasts.of_distillation(session, spec))
        return forecast.model_copy(update={"learning_rates": rates_of_distillation(spec)})


@router.post("/pools/forecast", tags=["pools"])
def forecast_pool(
    spec: PoolSpec, database: DatabaseDep, caller: CallerDep, rules: RulesDep, checks: ChecksDep
) -> PoolForecast:
    """Forecast the cost of training a pool: epochs, hours and disk, and reasons why it would be
    refused. Creates nothing."""
    data_roots.check_pool(spec, rules.data_roots)
    found = checks.problems(spec)
    spec = checks.completed(spec)
    refusals = _refusals(found, database, lambda s: create_pool(s, spec, checks, owner=caller.name))
    with database.read() as session:
        forecast = _forecast(PoolForecast, refusals, forecasts.of_pool(session, spec))
        return forecast.model_copy(update={"learning_rates": rates_of_pool(spec)})


def _short_trials(spec: SearchSpec) -> str | None:
    """Return how well trials rank; None for a strategy that does not choose by their scores."""
    return BENCHMARK.sentence if isinstance(spec.strategy, JointDetNasSpec | RandomSpec) else None


def _refusals(
    found: list[tuple[str, str]], database: Database, create: Callable[[Session], object]
) -> list[str]:
    """Return the reasons found so far, and the reason for which the database refuses."""
    reasons = [str(InvalidFieldError(each)) for each in found]
    try:
        with database.write() as session:
            create(session)
            session.rollback()
    except (ConflictError, InvalidValueError) as error:
        return [*reasons, str(error)]
    return reasons


def _forecast(
    schema: type[S],
    refusals: list[str],
    found: computed.Forecast | computed.PoolForecast,
) -> S:
    return schema.model_validate({"refusals": refusals, **asdict(found)})
