"""`searchd run`: names, and what it refuses before anything starts."""

from pathlib import Path

import pytest

from cli.guided.run import name_from
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("My Photos (2024)", "my-photos-2024"),
        ("Äpfel", "apfel"),
        ("猫", "mine"),
        ("__data__", "data"),
        ("a" * 80, "a" * 40),
    ],
)
def test_name_follows_from_the_folder(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir()
    assert name_from(tmp_path / folder) == name


def test_missing_path_is_refused(offline: Run, tmp_path: Path) -> None:
    result = offline("run", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_budget_is_checked_before_anything_starts(offline: Run, tmp_path: Path) -> None:
    result = offline("run", tmp_path, "--budget", "1", "--data-folder", tmp_path / "data")
    assert result.exit_code == 2
    assert "'1' must be a number with a unit, for example 30m" in result.stderr
    assert not (tmp_path / "data").exists()


def test_run_that_is_resumed_must_have_the_same_options(offline: Run, tmp_path: Path) -> None:
    results = tmp_path / "data" / "runs" / "mine"
    results.mkdir(parents=True)
    folder = tmp_path / "mine"
    folder.mkdir()
    (results / "options.json").write_text(
        '{"dataset": {"name": "mine"}, "options": {"budget": "2h"}}'
    )
    result = offline("run", folder, "--budget", "1h", "--data-folder", tmp_path / "data")
    assert result.exit_code == 1
    assert "the run mine was begun with other values of budget" in result.stderr
