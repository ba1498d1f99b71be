"""The methods of a search that searches them are chosen when it is submitted, and stored."""

from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidFieldError, InvalidValueError
from searchd.spec import HeadSpec, SearchSpec, TeachersSpec
from searchd.store import Database
from searchd.store.resources import pools, searches, teachers
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    add_teacher,
    leased,
    pool_spec,
    refused,
    search_spec,
    teacher_report,
    teacher_spec,
)


def submitted(database: Database, spec: SearchSpec) -> SearchSpec:
    """The spec that is stored of a search."""
    with database.write() as session:
        found = searches.create(session, spec).spec
    assert isinstance(found, SearchSpec)
    return found


def chosen(spec: SearchSpec) -> tuple[list[str], list[str]]:
    """The methods of trial 0, and those that later trials may have besides."""
    assert spec.distillation.search is not None
    further = spec.distillation.search.methods or ()
    return (
        [each.name.value for each in spec.distillation.methods],
        [each.name.value for each in further],
    )


def alone(distillation: object) -> SearchSpec:
    """A search whose only teacher is the registered one "swin"."""
    swin = TeachersSpec(registered=("swin",))
    return search_spec(pool=None, teachers=swin, distillation=distillation)


def add_retinanet(database: Database) -> None:
    """A registered RetinaNet that was evaluated."""
    with database.write() as session:
        row = teachers.create(session, teacher_spec())
    with leased(database, f"teacher-{row.id}") as (session, lease):
        teachers.record_report(session, lease, teacher_report(Family.RETINANET))


def test_what_fits_the_pool_is_stored_with_the_search(database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    start, further = chosen(submitted(database, search_spec(distillation="search")))
    assert start == ["proposal_feature", "classification", "class_aware_localisation"]
    assert {"sgfi", "cwd", "dkd"} < set(further)
    assert "inheriting" not in further  # the pool's neck has several widths


def test_a_pool_with_the_students_neck_lets_trials_inherit(database: Database) -> None:
    add_dataset(database)
    space = pool_spec().space.model_copy(update={"neck_channels": (256,)})
    with database.write() as session:
        pools.create(session, pool_spec(space=space))
    _, further = chosen(submitted(database, search_spec(distillation="search")))
    assert "inheriting" in further


def test_what_is_chosen_fits_pool_and_registered_teachers(database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    add_retinanet(database)
    both = TeachersSpec(registered=("swin",))
    start, further = chosen(submitted(database, search_spec(teachers=both, distillation="search")))
    assert start == ["feature_matching"]
    assert further == ["feature_imitation", "icd", "cwd", "fgd", "pkd"]


def test_a_teacher_that_is_not_known_yet_leaves_no_choice(database: Database) -> None:
    add_dataset(database)
    with database.write() as session:
        teachers.create(session, teacher_spec())
    expected = r"distillation\.search\.methods: teacher 'swin' is checking and was not evaluated"
    with refused(database, InvalidFieldError, expected) as session:
        searches.create(session, alone("search"))
    named = {"methods": [{"name": "cwd"}], "search": {"methods": [{"name": "pkd"}]}}
    assert chosen(submitted(database, alone(named))) == (["cwd"], ["pkd"])


def test_a_named_method_that_does_not_fit_the_teachers_is_refused(database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    add_teacher(database)
    given = {"search": {"methods": [{"name": "crosskd"}, {"name": "sgfi"}]}}
    head = HeadSpec(family=Family.RETINANET)
    expected = "pool 'teachers': crosskd needs a .* teacher for a retinanet student.*what fits"
    with refused(database, InvalidValueError, expected) as session:
        searches.create(session, search_spec(head=head, distillation=given))


def test_a_pool_that_does_not_exist_is_named_as_without_a_search_of_methods(
    database: Database,
) -> None:
    add_dataset(database)
    with refused(database, InvalidFieldError, "pool 'teachers' does not exist") as session:
        searches.create(session, search_spec(distillation="search"))


def test_the_same_request_twice_is_one_search(database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    spec = search_spec(distillation="search")
    with database.write() as session:
        first = searches.create(session, spec, idempotency_key="k").id
    with database.write() as session:
        again = searches.create(session, spec, idempotency_key="k")
        assert again.id == first
        assert isinstance(again.spec, SearchSpec)
        assert MethodName.SGFI in again.spec.distillation.options
