"""What a request will take, before anything runs."""

from fastapi import APIRouter

from api import paths, schemas
from api.auth import CallerDep
from api.dependencies import DatabaseDep, RulesDep
from searchd.domain.errors import ConflictError, InvalidValueError
from searchd.spec import SearchSpec
from searchd.store import Database, forecasts, searches

router = APIRouter(prefix="/searches", tags=["searches"])


@router.post("/forecast")
def forecast_search(
    spec: SearchSpec, database: DatabaseDep, caller: CallerDep, rules: RulesDep
) -> schemas.Forecast:
    """What a search would take: trials, hours, disk, and why it would be refused. Creates nothing.
    Whether the cluster has room is known once it is submitted."""
    paths.check_search(spec, rules.data_roots)
    refusals = _refusals(database, spec, caller.name)
    with database.read() as session:
        found = forecasts.of_search(session, spec)
    return schemas.Forecast.model_validate(
        {"refusals": refusals, **{name: getattr(found, name) for name in found.__slots__}},
        from_attributes=True,
    )


def _refusals(database: Database, spec: SearchSpec, owner: str | None) -> list[str]:
    try:
        with database.write() as session:
            searches.create(session, spec, owner=owner)
            session.rollback()
    except (ConflictError, InvalidValueError) as error:
        return [str(error)]
    return []
