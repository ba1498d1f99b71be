"""Rules of security that hold for the code as a whole."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from detection.mmdet.config import find_config
from searchd.coordinator import jobs
from searchd.coordinator.jobs import RayJobs
from searchd.domain.errors import InvalidValueError

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for package in ("cli", "searchd", "api", "detection", "elastic_pool", "workers")
    for path in (ROOT / package).rglob("*.py")
]
RUNS_CODE = {
    *("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler"),
    *("yaml.load", "yaml.unsafe_load", "marshal.loads", "joblib.load", "dill.loads"),
}
"""What runs code that it is given as data."""
_SAFE_RAY = Version("2.52")
"""CVE-2025-62593: before it, a web page could have a developer's browser start jobs; and tokens
came with it."""


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the sources: where, and what."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_no_call_runs_code_that_it_is_given_as_data() -> None:
    assert len(SOURCES) > 150
    assert [where for where, call in calls() if ast.unparse(call.func) in RUNS_CODE] == []


def test_torch_loads_nothing_but_weights() -> None:
    loads = [
        (where, {word.arg: ast.unparse(word.value) for word in call.keywords})
        for where, call in calls()
        if ast.unparse(call.func) == "torch.load"
    ]
    assert len(loads) >= 3
    assert [where for where, words in loads if words.get("weights_only") != "True"] == []


def test_no_shell_is_started() -> None:
    assert [w for w, c in calls() if any(word.arg == "shell" for word in c.keywords)] == []


def test_ray_is_newer_than_its_known_holes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ray,) = [r for r in map(Requirement, project["dependencies"]) if r.name == "ray"]
    assert not [old for old in ("2.51.9", "2.49", "2.9", "1.13") if ray.specifier.contains(old)]
    assert Version(version("ray")) >= _SAFE_RAY


def test_a_job_is_handed_nothing_but_its_command_and_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What else it could be handed, such as a runtime environment, the dashboard shows."""
    submitted: dict[str, Any] = {}

    class Cluster:
        def __init__(self, *_: object) -> None:
            pass

        def get_job_status(self, _job_id: str) -> None:
            raise jobs.JobMissingError("no such job")

        def submit_job(self, **values: Any) -> None:
            submitted.update(values)

    monkeypatch.setenv("SEARCHD_DATABASE_URL", "postgresql+psycopg://user:secret@db/searchd")
    monkeypatch.setattr(jobs, "JobClient", Cluster)
    command = [sys.executable, "-m", "searchd.driver", "--work=search-s-2; rm -rf /"]
    RayJobs("http://127.0.0.1:8265").submit("search-s-2-1", command, {"name": "first"})
    assert submitted == {
        "entrypoint": f"exec {sys.executable} -m searchd.driver '--work=search-s-2; rm -rf /'",
        "submission_id": "search-s-2-1",
        "metadata": {"name": "first"},
    }


@pytest.mark.parametrize("name", ["{folder}/mine", "{folder}/mine.py", "../mine", "a/../../mine"])
def test_no_python_config_of_a_users_is_run(name: str, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "mine.py").write_text(f"open({str(ran)!r}, 'w')\nmodel = {{}}\n")
    with pytest.raises(InvalidValueError):
        find_config(name.format(folder=tmp_path))
    assert not ran.exists()
