"""Each field of a spec that is refused, by whom ever, is named with its line and column."""

from pathlib import Path

import pytest

from api import schemas
from api.client import ApiError
from cli.service import read_spec, spec_of
from cli.spec_files import read_source
from searchd.domain.errors import InvalidValueError
from searchd.spec import SearchSpec
from searchd.store import Database
from tests.cli.conftest import Run
from tests.cli.resources.test_finish import ended_search
from tests.searchd.store.factories import add_dataset, add_pool

YAML = """\
# A search.
name: first
dataset: shapes
pool: teachers
trial:
  epochs: 0
  sed: 3
  resolutions:
    - 96x96
    - large
base: {backbone: resnet18, training: {learning_rate: fast}}
"""
JSON = """\
{
\t"name": "first", "dataset": "shapes",
\t"trial": {
\t\t"epochs": "three"
\t}
}
"""


def written(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    file = folder / name
    file.write_bytes(text.encode())
    return file


def lines_of(message: str) -> list[str]:
    return [line.strip() for line in message.splitlines()[1:]]


def refusal(file: Path) -> list[str]:
    with pytest.raises(InvalidValueError) as refused:
        read_spec(file, SearchSpec)
    return lines_of(str(refused.value))


@pytest.mark.parametrize("text", [YAML, YAML.replace("\n", "\r\n")], ids=["unix", "windows"])
def test_an_unknown_field_a_wrong_type_and_a_value_out_of_range_have_line_and_column(
    tmp_path: Path, text: str
) -> None:
    assert refusal(written(tmp_path, text)) == [
        'line 11, column 39: base.training.learning_rate: must be a number, not "fast"',
        "line 6, column 3: trial.epochs: must be at least 1, not 0",
        'line 10, column 7: trial.resolutions.1: resolution "large" must look like 1333x800 (WxH, '
        "in pixels)",
        "line 7, column 3: trial.sed: unknown field here; did you mean seed?",
    ]


def test_a_missing_field_has_the_line_of_the_section_that_lacks_it(tmp_path: Path) -> None:
    text = "# no data set\nname: first\nstrategy:\n  kind: pipeline\npool: teachers\nscore:\n"
    file = written(tmp_path, text + "  cost: macs\nteachers: {registered: [{}]}\n")

    assert refusal(file) == [
        "line 2, column 1: dataset: required field is missing",
        "line 8, column 25: teachers.registered.0: must be text, not {}",
    ]


def test_a_json_file_with_tabs_has_the_columns_that_an_editor_counts(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, JSON, "spec.json")) == [
        'line 4, column 3: trial.epochs: must be a whole number, not "three"',
    ]


def test_a_merged_field_has_the_line_where_it_is_written(tmp_path: Path) -> None:
    text = (
        "name: first\ndataset: shapes\npool: teachers\n"
        "trial: &t\n  epochs: 0\n  batch_size: 0\n"
        "base:\n  training:\n    <<: *t\n    batch_size: -1\n"
    )

    assert refusal(written(tmp_path, text)) == [
        "line 5, column 3: base.training.epochs: must be at least 1, not 0",
        "line 10, column 5: base.training.batch_size: -1 is neither a number of images, at "
        "least 1, nor auto",
        "line 5, column 3: trial.epochs: must be at least 1, not 0",
        "line 6, column 3: trial.batch_size: 0 is neither a number of images, at least 1, nor auto",
    ]


def test_a_value_of_an_option_has_no_line(tmp_path: Path) -> None:
    source = read_source(written(tmp_path, "name: First\ndataset: shapes\npool: Bad\n"))

    with pytest.raises(InvalidValueError) as refused:
        spec_of(source, SearchSpec, name="Second")

    name, pool = lines_of(str(refused.value))
    assert name.startswith('name: "Second" is not a valid name')
    assert pool.startswith('line 3, column 1: pool: "Bad" is not a valid name')


def test_a_rule_about_the_whole_spec_has_no_line(tmp_path: Path) -> None:
    file = written(tmp_path, "name: first\ndataset: shapes\n")

    assert refusal(file) == [
        "no teachers: give pool, or teachers with a pool, registered teachers, or both"
    ]


def test_fields_that_the_service_finds_invalid_have_line_and_column(tmp_path: Path) -> None:
    source = read_source(written(tmp_path, "name: first\ntrial:\n  epochs: 3\n  colour: red\n"))
    problem = schemas.Problem(
        type="urn:searchd:problem:validation",
        title="Invalid request",
        status=422,
        detail="trial.colour: unknown field; trial.epochs: must be at least 4",
        errors=[
            schemas.FieldProblem(location=["body", "trial", "colour"], message="unknown field"),
            schemas.FieldProblem(
                location=["body", "trial", "epochs"], message="must be at least 4"
            ),
        ],
    )

    lines = source.refusals(ApiError(problem))

    assert lines == [
        "line 4, column 3: trial.colour: unknown field",
        "line 3, column 3: trial.epochs: must be at least 4",
    ]


@pytest.mark.parametrize("option", [(), ("--validate-only",)])
@pytest.mark.parametrize(
    ("command", "text", "line"),
    [
        (
            ("search", "submit"),
            "name: s\ndataset: shapes\npool: teachers\nscore:\n  cost: latency\n  device: laptop\n",
            "line 6, column 3: score.device: device 'laptop' does not exist; register it first: "
            "searchd device add laptop",
        ),
        (
            ("search", "submit"),
            "name: s\ndataset: shapes\nteachers:\n  registered: [big,\n    bigger]\n",
            "line 4, column 16: teachers.registered.0: teacher 'big' does not exist; register it "
            "first",
        ),
        (
            ("pool", "create"),
            "name: p\ndataset: shapes\nstart_from: teacher\n",
            "line 3, column 1: start_from: pool 'teacher' does not exist; did you mean teachers?",
        ),
        (
            ("teacher", "add"),
            "name: t\ndataset: shapes\ntrial: s-7f3k2m-12\n",
            "line 3, column 1: trial: trial 's-7f3k2m-12' does not exist; give the id that its "
            "search lists",
        ),
        (
            ("distillation", "submit"),
            "name: d\ndataset: shapes\nstudent: {base: {}}\nteachers:\n  a: big\n",
            "line 5, column 3: teachers.a: teacher 'big' does not exist; register it first",
        ),
    ],
)
def test_a_resource_that_does_not_exist_has_the_line_that_names_it(
    searchd: Run,
    database: Database,
    tmp_path: Path,
    command: tuple[str, str],
    text: str,
    line: str,
    option: tuple[str, ...],
) -> None:
    add_dataset(database)
    add_pool(database)
    file = written(tmp_path, text)

    result = searchd(*command, file, *option)

    assert result.exit_code == 1
    assert result.stderr == f"error: the service refuses {file}:\n  {line}\n"


def test_a_file_with_one_section_has_its_own_lines(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    ended_search(database)
    file = written(tmp_path, "# longer\nepochs: 0\n")

    result = searchd("search", "finish", "first", "--file", file)

    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {file} is not a valid finish:\n"
        "  line 2, column 1: method.epochs: must be at least 1, not 0\n"
    )
