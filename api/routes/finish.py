"""The endpoint that improves detectors of a finished search."""

from fastapi import APIRouter, status

from api import data_roots
from api.auth import CallerDep, check_owner
from api.dependencies import DatabaseDep, RulesDep, SearchReference
from api.schemas.distillations import DistillationDetails
from api.views import distillations
from searchd.spec import FinishSpec
from searchd.store.resources import searches
from searchd.store.resources.finish import finish

router = APIRouter(prefix="/searches", tags=["searches"])


@router.post("/{search}/finish", status_code=status.HTTP_201_CREATED)
def finish_search(
    search: SearchReference,
    wanted: FinishSpec,
    database: DatabaseDep,
    caller: CallerDep,
    rules: RulesDep,
) -> list[DistillationDetails]:
    """Improve detectors of a finished search: fine-tune each under its teacher, or distil each from
    an ordered sequence of teachers. The response has one distillation per detector; its students
    join the front and the lineage of the search. Repeating the request creates nothing new."""
    data_roots.check_finish(wanted, rules.data_roots)
    with database.write() as session:
        row = searches.get(session, search)
        check_owner(caller, row)
        made = finish(session, row, wanted, owner=caller.name)
        return [distillations.distillation(session, each) for each in made]
