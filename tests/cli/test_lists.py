"""Lists are filtered, sorted and cut, by the service where it can and by any field otherwise."""

import csv
import io
import json

import pytest

from cli.lists import Selection, field_of
from searchd.domain.errors import InvalidValueError
from searchd.spec import ScoreSpec
from searchd.store import Database
from searchd.store.resources import datasets
from tests.cli.conftest import Run
from tests.cli.test_help import every_command
from tests.searchd.store.factories import (
    base_proposal,
    dataset_spec,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
)


def names(searchd: Run, *options: str) -> list[str]:
    """The names of the listed data sets."""
    result = searchd("dataset", "list", "--format", "json", *options)
    assert result.exit_code == 0, result.output
    return [each["name"] for each in json.loads(result.stdout)]


def test_resources_are_filtered_sorted_and_cut(searchd: Run, database: Database) -> None:
    for name in ("b-shapes", "c", "a-shapes"):
        with database.write() as session:
            datasets.create(session, dataset_spec(name))

    assert names(searchd, "--sort", "name") == ["a-shapes", "b-shapes", "c"]
    assert names(searchd, "--sort", "-name", "--limit", "1") == ["c"]
    assert names(searchd, "--filter", "name~SHAPES") == ["a-shapes", "b-shapes"]
    assert names(searchd, "--filter", "name=c") == ["c"]
    assert names(searchd, "--filter", "name!=c", "--filter", "name~b") == ["b-shapes"]
    assert names(searchd, "--sort", "spec.train.images", "--limit", "2") == ["a-shapes", "c"]
    assert names(searchd, "--status", "ready", "--status", "failed") == []
    assert names(searchd, "--filter", "finished_at=null", "--limit", "1") == ["a-shapes"]


def test_every_list_has_the_options() -> None:
    lists = {
        path: {parameter.name for parameter in command.params}
        for path, command in every_command()
        if path.rpartition(" ")[2] in ("list", "trials", "pareto", "exports", "deliveries")
    }

    assert sorted(lists) == [
        "searchd dataset list",
        "searchd detector exports",
        "searchd device list",
        "searchd distillation list",
        "searchd distillation pareto",
        "searchd distillation trials",
        "searchd pool list",
        "searchd search list",
        "searchd search pareto",
        "searchd search trials",
        "searchd teacher list",
        "searchd token list",
        "searchd webhook deliveries",
        "searchd webhook list",
    ]
    wanted = {"filters", "sort", "limit", "output"}
    assert [path for path, options in lists.items() if not wanted <= options] == []


def test_trials_are_filtered_by_numbers_within_sections(searchd: Run, database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.25))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.75))

    result = searchd("search", "trials", search.id, "--filter", "best.ap>0.5", "--format", "csv")

    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["TRIAL"], row["AP %"]) for row in rows] == [("0", "75.0")]
    by_score = searchd("search", "trials", search.id, "--sort", "-best.ap", "--format", "json")
    assert [each["name"] for each in json.loads(by_score.stdout)] == ["0", "base"]


def test_points_of_a_front_are_filtered_sorted_and_cut(searchd: Run, database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.5, macs=2e9))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.75, macs=3e9))

    def aps(*options: str) -> list[float]:
        result = searchd("search", "pareto", search.id, "--format", "json", *options)
        assert result.exit_code == 0, result.output
        return [each["evaluation"]["ap"] for each in json.loads(result.stdout)["front"]]

    assert aps() == [0.25, 0.375, 0.5, 0.75]
    assert aps("--sort", "-evaluation.ap", "--limit", "2") == [0.75, 0.5]
    assert aps("--filter", "evaluation.ap>0.3", "--filter", "evaluation.macs<3e9") == [0.375, 0.5]
    table = searchd("search", "pareto", search.id, "--filter", "evaluation.ap>0.6").stdout
    assert [line.split()[0] for line in table.splitlines()[1:]] == [f"{search.id}-0"]
    wrong = searchd("search", "pareto", search.id, "--filter", "ap>0.3")
    message = "have no field 'ap'; did you mean evaluation.ap?"
    assert (wrong.exit_code, message in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--filter", "nonsense"], "--filter 'nonsense' is no condition; write FIELD=VALUE"),
        (["--filter", "statux=ready"], "no field 'statux'; did you mean status?"),
        (["--sort", "spec.trainn"], "no field 'spec.trainn'; did you mean train?"),
    ],
)
def test_a_field_that_does_not_exist_is_named(
    searchd: Run, database: Database, options: list[str], message: str
) -> None:
    with database.write() as session:
        datasets.create(session, dataset_spec("a"))

    result = searchd("dataset", "list", *options)

    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_a_number_is_compared_with_numbers_only() -> None:
    selection = Selection.of(["alpha>much"], None, None)

    with pytest.raises(InvalidValueError, match="alpha>much: alpha is a number"):
        selection.apply([ScoreSpec()])


def test_a_field_within_a_section_that_is_null_has_no_value() -> None:
    assert field_of({"best": None}, "best.ap") is None
    assert field_of({"best": {"ap": 0.5}}, "best.ap") == 0.5
