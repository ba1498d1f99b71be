"""`--validate-only` in each command: the service is asked; without one, what this machine sees."""

from pathlib import Path

import pytest

from searchd.store import Database
from tests.cli.conftest import Run
from tests.searchd.store.factories import add_dataset, add_pool

AWAY = ("--url", "http://127.0.0.1:9")
UNCHECKED = (
    "warning: no service at http://127.0.0.1:9: only the fields of the spec and the files on this "
    "machine were checked, not whether the name is free, whether the resources that the spec names "
    "exist and fit, and whether the cluster has the CPUs and GPUs\n"
)
TEACHER = (
    "name: t\ndataset: shapes\nmmdet: {config: retinanet_r50_fpn_1x_coco, checkpoint: /nowhere/a}\n"
)


def written(folder: Path, text: str) -> Path:
    file = folder / "spec.yaml"
    file.write_text(text)
    return file


def test_each_kind_of_spec_is_validated_by_the_service(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    add_pool(database)
    commands = {
        ("pool", "create"): "name: p\ndataset: shapes\n",
        ("search", "submit"): "name: s\ndataset: shapes\npool: teachers\n",
        ("teacher", "add"): TEACHER,
    }

    for command, text in commands.items():
        result = searchd(*command, written(tmp_path, text), "--validate-only")
        noun = command[0]
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == f"{noun} {text[6]} would be accepted\n"
    added = searchd("dataset", "add", "mine", tmp_path, "--validate-only")
    assert (added.exit_code, added.stderr) == (0, "data set mine would be accepted\n")
    assert "mine" not in searchd("dataset", "list").stdout


def test_the_service_names_the_resource_that_was_meant(
    searchd: Run, database: Database, tmp_path: Path
) -> None:
    add_dataset(database)
    file = written(tmp_path, "name: p\ndataset: shape\n")

    result = searchd("pool", "create", file, "--validate-only")

    assert result.exit_code == 1
    assert result.stderr == (
        f"error: the service refuses {file}:\n"
        "  line 2, column 1: dataset: data set 'shape' does not exist; did you mean shapes?\n"
    )


def test_without_a_service_it_says_what_was_not_checked(offline: Run, tmp_path: Path) -> None:
    file = written(tmp_path, "name: s\ndataset: shapes\npool: teachers\n")

    result = offline("search", "submit", file, "--validate-only", *AWAY)

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{UNCHECKED}search s is valid as far as it was checked\n"


def test_without_a_service_missing_files_are_found(offline: Run, tmp_path: Path) -> None:
    file = written(tmp_path, TEACHER)

    result = offline("teacher", "add", file, "--validate-only", *AWAY)

    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {file} is refused:\n"
        '  line 3, column 44: mmdet.checkpoint: "/nowhere/a" does not exist; there is no '
        '"/nowhere"\n'
    )


@pytest.mark.parametrize("command", [("search", "submit"), ("pool", "create"), ("teacher", "add")])
def test_a_missing_service_is_an_error_without_the_option(
    offline: Run, tmp_path: Path, command: tuple[str, str]
) -> None:
    text = {"search": "name: s\ndataset: d\npool: p\n", "pool": "name: p\ndataset: d\n"}
    file = written(tmp_path, text.get(command[0], TEACHER))

    result = offline(*command, file, *AWAY)

    assert result.exit_code == 1
    assert result.stderr.startswith("error: no searchd service at http://127.0.0.1:9 (")
