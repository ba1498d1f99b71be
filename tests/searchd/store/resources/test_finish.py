"""Finishing a search: which detectors are chosen, and what is made of them."""

from dataclasses import replace
from typing import Any

import pytest

from searchd.domain.errors import ConflictError, InvalidValueError
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import Train
from searchd.spec import (
    DistillationSpec,
    DistilSpec,
    FinishSpec,
    MethodsSpec,
    StudentSpec,
    TrainingSpec,
)
from searchd.store import Database, Lease
from searchd.store.models import DistillationRow, SearchRow
from searchd.store.resources import distillations, searches
from searchd.store.resources.finish import finish
from searchd.store.work import queue, requests
from tests.searchd.store.distillation_factory import run_base
from tests.searchd.store.factories import (
    LARGE,
    SMALL,
    add_dataset,
    add_pool,
    base_proposal,
    control_proposal,
    leased,
    pool_spec,
    refused,
    run_trial,
    search_proposal,
    search_spec,
    succeeded,
)

TRAINING = TrainingSpec(resolutions=(SMALL, LARGE), bn_l1=1e-5, schedule="step", batch_size=2)
SPACE = pool_spec().space.space


def _searched(database: Database, name: str = "first") -> tuple[SearchRow, Lease]:
    """A search that runs. Its trials at the larger size, as (GMACs, AP): 0 (2, .25), 1 (3, .625),
    2 (8, .75), 3 (8, .5); base and control, which are better, were not found by it."""
    add_dataset(database)
    add_pool(database)
    with database.write() as session:
        row = searches.create(session, search_spec(name, trial=TRAINING, seed=3))
    with leased(database, f"search-{row.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.9, macs=1e9))
    for number, (macs, ap) in enumerate([(2e9, 0.25), (3e9, 0.625), (8e9, 0.75), (8e9, 0.5)]):
        report = succeeded(str(number), ap=ap, macs=macs)
        run_trial(database, lease, search_proposal(number), report)
    run_trial(database, lease, control_proposal(1), succeeded("control-1", ap=0.95, macs=1e9))
    return row, lease


def _end(database: Database, lease: Lease, to: SearchStatus = SearchStatus.SUCCEEDED) -> None:
    with database.write() as session:
        queue.finish(session, lease, to, "converged")


def _finish(database: Database, search: str = "first", **wanted: Any) -> list[DistillationRow]:
    with database.write() as session:
        found = searches.get(session, search)
        return finish(session, found, FinishSpec.model_validate(wanted), owner="ada")


def _spec(row: DistillationRow) -> DistillationSpec:
    assert isinstance(row.spec, DistillationSpec)
    return row.spec


def test_the_knee_is_fine_tuned_as_the_paper_does_unless_the_spec_says_otherwise(
    database: Database,
) -> None:
    search, lease = _searched(database)
    _end(database, lease)
    (row,) = _finish(database)
    assert (row.name, row.origin_id, row.owner) == ("first-fine-tune-1", f"{search.id}-1", "ada")
    spec = _spec(row)
    assert spec.student.trial == f"{search.id}-1"
    assert (spec.teachers, spec.order) == ({"found": SPACE.smallest}, ("found",))
    assert (spec.pool, spec.distillation, spec.seed) == ("teachers", MethodsSpec(), 3)
    assert spec.trial == TRAINING.model_copy(
        update={"epochs": 16, "learning_rate": 0.01, "schedule": "cosine", "bn_l1": 0.0}
    )


def test_all_are_those_on_the_front_of_what_the_search_found_cheapest_first(
    database: Database,
) -> None:
    _, lease = _searched(database)
    _end(database, lease)
    names = [row.name for row in _finish(database, detectors="all")]
    assert names == ["first-fine-tune-0", "first-fine-tune-1", "first-fine-tune-2"]


def test_any_trial_may_be_chosen_by_its_id_and_once(database: Database) -> None:
    search, lease = _searched(database)
    _end(database, lease)
    chosen = (f"{search.id}-3", f"{search.id}-0", f"{search.id}-3")
    names = [row.name for row in _finish(database, detectors=chosen)]
    assert names == ["first-fine-tune-3", "first-fine-tune-0"]


def test_repeating_a_request_creates_nothing_new(database: Database) -> None:
    _, lease = _searched(database)
    _end(database, lease)
    first = [row.id for row in _finish(database, detectors="all")]
    assert [row.id for row in _finish(database, detectors="all")] == first
    knee = [row.id for row in _finish(database)]
    assert knee == first[1:2]
    with pytest.raises(ConflictError, match="'first-fine-tune-1' already; names are unique"):
        _finish(database, method={"kind": "fine_tune", "epochs": 8})


def test_an_ordered_sequence_of_teachers_has_the_fields_of_a_distillation(
    database: Database,
) -> None:
    _, lease = _searched(database)
    _end(database, lease)
    method = {
        "kind": "distil",
        "num_sampled_teachers": 3,
        "order": "forward",
        "max_teachers": 3,
        "baselines": ["no_teacher"],
    }
    (row,) = _finish(database, method=method)
    spec = _spec(row)
    assert row.name == "first-distil-1"
    assert (spec.num_sampled_teachers, spec.order, spec.max_teachers) == (3, "forward", 3)
    assert (spec.pool, spec.baselines) == ("teachers", ("no_teacher",))
    assert (spec.trial.epochs, spec.trial.bn_l1, spec.trial.batch_size) == (12, 0.0, 2)
    assert (spec.score, spec.resources) == (search_spec().score, search_spec().resources)


def test_what_does_not_fit_together_is_refused_in_words(database: Database) -> None:
    _, lease = _searched(database)
    _end(database, lease)
    expected = "cannot be finished this way: .*exactly one of teachers and num_sampled_teachers"
    with pytest.raises(InvalidValueError, match=expected):
        _finish(database, method={"kind": "distil"})


def test_a_detector_without_a_teacher_can_be_distilled_but_not_fine_tuned(
    database: Database,
) -> None:
    search, lease = _searched(database)
    _end(database, lease)
    base = (f"{search.id}-base",)
    expected = "was trained without a teacher, and fine_tune keeps the teacher"
    with pytest.raises(InvalidValueError, match=expected):
        _finish(database, detectors=base)
    (row,) = _finish(database, detectors=base, method=DistilSpec(num_sampled_teachers=2))
    assert row.name == "first-distil-base"


def test_trials_of_others_are_refused(database: Database) -> None:
    _, lease = _searched(database)
    _end(database, lease)
    with pytest.raises(InvalidValueError, match="'s-other-1' is not a trial of search first"):
        _finish(database, detectors=("s-other-1",))


def test_a_search_must_have_ended_however(database: Database) -> None:
    _, lease = _searched(database)
    with pytest.raises(ConflictError, match="first is running, and its front may still change"):
        _finish(database)
    _end(database, lease, SearchStatus.FAILED)
    assert len(_finish(database)) == 1


def test_a_search_that_found_nothing_cannot_be_finished(database: Database) -> None:
    add_dataset(database)
    add_pool(database)
    with database.write() as session:
        row = searches.create(session, search_spec())
        requests.ask_to_cancel(session, row.id)
    with refused(database, ConflictError, "first is cancelled and found no detector") as session:
        finish(session, searches.get(session, "first"), FinishSpec())


def test_a_long_name_gives_way_to_the_id(database: Database) -> None:
    search, lease = _searched(database, "s" * 60)
    _end(database, lease)
    (row,) = _finish(database, "s" * 60)
    assert row.name == f"{search.id}-fine-tune-1"


def test_descendants_are_found_through_several_distillations(database: Database) -> None:
    search, lease = _searched(database)
    _end(database, lease)
    (tuned,) = _finish(database)
    with leased(database, f"distillation-{tuned.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base evaluated")
    run_base(database, lease)
    run_trial(database, lease, replace(search_proposal(0), change=Train()))
    with database.write() as session:
        student = StudentSpec(trial=f"{tuned.id}-0")
        further = _spec(tuned).model_copy(update={"name": "further", "student": student})
        last = distillations.create(session, further)
        found = distillations.descended(session, search.id)
        assert [row.id for row in found] == [tuned.id, last.id]
        assert distillations.descended(session, last.id) == []
