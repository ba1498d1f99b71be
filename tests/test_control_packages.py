"""What runs in the image of the control plane imports no package that only workers have."""

import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
IMPORT = "import sys, {}; print(*{{name.partition('.')[0] for name in sys.modules}})"


def named(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


@pytest.mark.parametrize(
    "module", ["api.app", "cli.main", "searchd.coordinator.loop", "workers.dataset_check"]
)
@pytest.mark.timeout(60)  # a new process imports everything
def test_no_import_is_a_package_of_workers(module: str) -> None:
    of_workers = named(EXTRAS["train"]) - named([*PROJECT["dependencies"], *EXTRAS["control"]])
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.format(module)], capture_output=True, text=True, check=True
    )

    owners = metadata.packages_distributions()
    found = {name: named(owners.get(name, ())) & of_workers for name in done.stdout.split()}
    assert {name for name, packages in found.items() if packages} == set()
