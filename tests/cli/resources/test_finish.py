"""`searchd search finish` and what it leaves in the lineage."""

import json
from pathlib import Path

from searchd.domain.lifecycle import SearchStatus
from searchd.spec import DistillationSpec, TrainingSpec
from searchd.store import Database
from searchd.store.resources import distillations, searches
from searchd.store.work import queue
from tests.cli.conftest import Run
from tests.searchd.store.distillation_factory import run_base
from tests.searchd.store.factories import (
    LARGE,
    add_dataset,
    add_pool,
    base_proposal,
    leased,
    run_trial,
    search_proposal,
    search_spec,
    succeeded,
)


def ended_search(database: Database) -> str:
    """A search that has ended with two detectors, the first of them on the front; its id."""
    add_dataset(database)
    add_pool(database)
    with database.write() as session:
        spec = search_spec(trial=TrainingSpec(resolutions=(LARGE,)))
        search = searches.create(session, spec)
    with leased(database, f"search-{search.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.25))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.5))
    run_trial(database, lease, search_proposal(1), succeeded("1", ap=0.375))
    with database.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "converged")
    return search.id


def test_the_knee_is_fine_tuned_and_shown_in_the_lineage(searchd: Run, database: Database) -> None:
    search = ended_search(database)
    result = searchd("search", "finish", "first", "--format", "json")
    assert result.exit_code == 0, result.stderr
    (made,) = json.loads(result.stdout)
    assert (made["name"], made["origin_id"]) == ("first-fine-tune-0", f"{search}-0")
    with leased(database, f"distillation-{made['id']}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base evaluated")
    run_base(database, lease, ap=0.5)
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.625))
    assert searchd("search", "lineage", "first").stdout.splitlines() == [
        "base: train  25.00",
        "  0: mutate the teacher  50.00  +25.00",
        "    0 (first-fine-tune-0): mutate the teacher  62.50  +12.50",
        "  1: prune a layer  37.50  +12.50",
    ]


def test_detectors_are_chosen_by_name_or_id_and_the_method_by_file(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    search = ended_search(database)
    file = tmp_path / "method.yaml"
    file.write_text("num_sampled_teachers: 3\nbaselines: [no_teacher]\n")
    options = ("--detectors", "1", "--detectors", f"{search}-0", "--method", "distil")
    result = searchd("search", "finish", "first", *options, "--file", file)
    assert result.exit_code == 0, result.stderr
    names = [line.split()[0] for line in result.stdout.splitlines()[1:]]
    assert names == ["first-distil-1", "first-distil-0"]
    with database.read() as session:
        spec = distillations.get(session, "first-distil-1").spec
    assert isinstance(spec, DistillationSpec)
    assert (spec.num_sampled_teachers, spec.baselines) == (3, ("no_teacher",))


def test_fields_that_the_method_does_not_have_are_a_usage_error(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    ended_search(database)
    file = tmp_path / "method.yaml"
    file.write_text("epoch: 3\n")
    result = searchd("search", "finish", "first", "--file", file)
    assert result.exit_code == 2
    assert "unknown field" in result.stderr
