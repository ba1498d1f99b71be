"""`searchd search init`: durations, files, and what it refuses."""

from pathlib import Path

import pytest

from cli.recommendation import read_duration
from cli.service import read_spec
from searchd.domain.errors import InvalidValueError
from searchd.spec import DistillationSpec, PoolSpec, SearchSpec
from searchd.store import Database
from searchd.store.resources import datasets
from tests.cli.conftest import Run
from tests.searchd.store.factories import add_dataset, leased

pytestmark = pytest.mark.timeout(60)  # the speed of this machine is measured


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), ("1 d", 86400), ("600S", 600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["2", "two hours", "", "-1h", "h", "1:30"])
def test_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="for example 30m, 2h or 1h30m"):
        read_duration(text)


def test_budget_below_five_minutes_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="at least 5m"):
        read_duration("4m")


def statistics() -> dict[str, object]:
    split = {
        "images": 300,
        "most_objects_in_an_image": 12,
        "image_width_px": {"median": 320},
        "image_height_px": {"median": 240},
        "box_short_side_share": {"p10": 0.12},
    }
    return {"classes": {"cat": {}, "dog": {}}, "splits": {"train": split, "validation": split}}


def add_checked(database: Database) -> None:
    dataset = add_dataset(database, ready=False)
    with leased(database, f"dataset_check-{dataset}") as (session, lease):
        datasets.record_ready(
            session, lease, {"statistics": statistics(), "class_names": ["cat", "dog"]}
        )


def test_init_writes_specs_that_can_be_submitted(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_checked(database)

    result = searchd("search", "init", "pets", "--dataset", "shapes", "--folder", tmp_path)

    assert result.exit_code == 0, result.stderr
    pool = read_spec(tmp_path / "pets-teachers.yaml", PoolSpec)
    search = read_spec(tmp_path / "pets.yaml", SearchSpec)
    assert (search.dataset, search.pool) == ("shapes", pool.name)
    assert f"searchd search submit {tmp_path / 'pets.yaml'}" in result.stdout


def test_init_of_pool_and_distillation_write_specs_with_reasons(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_checked(database)
    options = ("--dataset", "shapes", "--budget", "30m", "--out")
    pool, distillation = tmp_path / "pool.yaml", tmp_path / "distillation.yaml"

    made = searchd("pool", "init", "pets", *options, pool)
    also = searchd("distillation", "init", "steps", "--pool", "pets", *options, distillation)

    assert (made.exit_code, also.exit_code) == (0, 0), made.stderr + also.stderr
    assert also.stderr == "note: pool 'pets' does not exist\n"
    assert read_spec(pool, PoolSpec).name == "pets"
    found = read_spec(distillation, DistillationSpec)
    assert (found.name, found.pool, found.max_teachers) == ("steps", "pets", 2)
    assert "# Algorithm 1 of MTPD, by measured adaptation costs." in distillation.read_text()
    refused = searchd("pool", "init", "pets", *options, pool)
    assert (refused.exit_code, f"{pool} exists" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    "command",
    [("search", "init"), ("pool", "init"), ("distillation", "init", "--pool", "pets")],
)
def test_init_refuses_a_name_that_is_none_with_one_that_is(
    searchd: Run, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = searchd(*command, "My Pets", "--dataset", "shapes")

    assert result.exit_code == 2
    assert result.stderr.startswith('error: "My Pets" is not a valid name')
    assert result.stderr.endswith("for example my-pets\n")


def test_init_names_the_licence_of_the_weights(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_checked(database)
    weights = ("--dataset", "shapes", "--pretrained", "timm", "--licence", " Apache-2.0")
    steps = tmp_path / "steps.yaml"

    search = searchd("search", "init", "pets", *weights, "--folder", tmp_path)
    distillation = searchd("distillation", "init", "d", "--pool", "p", *weights, "--out", steps)

    assert (search.exit_code, distillation.exit_code) == (0, 0), search.stderr
    assert read_spec(tmp_path / "pets.yaml", SearchSpec).base.licence == "Apache-2.0"
    student = read_spec(steps, DistillationSpec).student
    assert student.base is not None
    assert student.base.licence == "Apache-2.0"


def test_init_does_not_overwrite_a_spec_unasked(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_checked(database)
    (tmp_path / "pets.yaml").write_text("name: mine")
    arguments = ("search", "init", "pets", "--dataset", "shapes", "--folder", tmp_path)

    assert "pets.yaml exists" in searchd(*arguments).stderr
    assert (tmp_path / "pets.yaml").read_text() == "name: mine"
    assert searchd(*arguments, "--overwrite").exit_code == 0


def test_init_refuses_a_data_set_that_is_not_checked_yet(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database, ready=False)

    result = searchd("search", "init", "pets", "--dataset", "shapes", "--folder", tmp_path)

    assert result.exit_code == 1
    assert "data set shapes is checking" in result.stderr
