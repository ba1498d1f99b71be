"""Forecasts of what a request takes, before anything runs."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api import data_roots
from api.auth import CallerDep
from api.dependencies import DatabaseDep, RulesDep
from api.schemas import resources as schemas
from api.schemas.forecasts import Forecast, PoolForecast
from searchd.domain.errors import ConflictError, InvalidValueError
from searchd.search import forecasts as computed
from searchd.spec import DistillationSpec, PoolSpec, SearchSpec
from searchd.store import Database
from searchd.store.resources import distillations, pools, searches
from searchd.store.runs import forecasts

router = APIRouter()
S = TypeVar("S", bound=schemas.Schema)


@router.post("/searches/forecast", tags=["searches"])
def forecast_search(
    spec: SearchSpec, database: DatabaseDep, caller: CallerDep, rules: RulesDep
) -> Forecast:
    """Forecast a search: trials, hours, disk space, and why it would be refused. Creates nothing.
    Whether the cluster has the resources is checked once the search is submitted."""
    data_roots.check_search(spec, rules.data_roots)
    refusals = _refusals(database, lambda s: searches.create(s, spec, owner=caller.name))
    with database.read() as session:
        return _answer(Forecast, refusals, forecasts.of_search(session, spec))


@router.post("/distillations/forecast", tags=["distillations"])
def forecast_distillation(
    spec: DistillationSpec, database: DatabaseDep, caller: CallerDep, rules: RulesDep
) -> Forecast:
    """Forecast a distillation: stages, hours, disk space, and why it would be refused. Creates
    nothing."""
    data_roots.check_distillation(spec, rules.data_roots)
    refusals = _refusals(database, lambda s: distillations.create(s, spec, owner=caller.name))
    with database.read() as session:
        return _answer(Forecast, refusals, forecasts.of_distillation(session, spec))


@router.post("/pools/forecast", tags=["pools"])
def forecast_pool(spec: PoolSpec, database: DatabaseDep, caller: CallerDep) -> PoolForecast:
    """Forecast the training of a pool: epochs, hours, disk space, and why it would be refused.
    Creates nothing."""
    refusals = _refusals(database, lambda s: pools.create(s, spec, owner=caller.name))
    with database.read() as session:
        return _answer(PoolForecast, refusals, forecasts.of_pool(session, spec))


def _refusals(database: Database, create: Callable[[Session], object]) -> list[str]:
    try:
        with database.write() as session:
            create(session)
            session.rollback()
    except (ConflictError, InvalidValueError) as error:
        return [str(error)]
    return []


def _answer(
    schema: type[S],
    refusals: list[str],
    found: computed.Forecast | computed.PoolForecast,
) -> S:
    return schema.model_validate({"refusals": refusals, **asdict(found)})
