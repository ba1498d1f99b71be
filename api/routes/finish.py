"""What is done to a search's detectors once it has ended."""

from fastapi import APIRouter, status

from api import data_roots
from api.auth import CallerDep, check_owner
from api.dependencies import DatabaseDep, Reference, RulesDep
from api.schemas.distillations import DistillationDetails
from api.views import distillations
from searchd.spec import FinishSpec
from searchd.store.resources import searches
from searchd.store.resources.finish import finish

router = APIRouter(prefix="/searches", tags=["searches"])


@router.post("/{search}/finish", status_code=status.HTTP_201_CREATED)
def finish_search(
    search: Reference,
    wanted: FinishSpec,
    database: DatabaseDep,
    caller: CallerDep,
    rules: RulesDep,
) -> list[DistillationDetails]:
    """Improve detectors of a search that has ended: fine-tune them under their teachers, or have
    each taught by an ordered sequence of teachers. Answers with a distillation for each, whose
    students join the search's front and lineage. Repeated, it creates nothing new."""
    data_roots.check_finish(wanted, rules.data_roots)
    with database.write() as session:
        row = searches.get(session, search)
        check_owner(caller, row)
        made = finish(session, row, wanted, owner=caller.name)
        return [distillations.distillation(session, each) for each in made]
