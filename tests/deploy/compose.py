"""docker-compose.yml as a test sees it: services, environments and commands, rendered with .env."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def new_env(folder: Path) -> dict[str, str]:
    """Run deploy/new-env in a copy of the repository's folder and return the variables it wrote."""
    (folder / "deploy").mkdir(parents=True)
    script = shutil.copy(ROOT / "deploy" / "new-env", folder / "deploy")
    subprocess.run([script], check=True, stdout=subprocess.DEVNULL)
    return {name: value or "" for name, value in dotenv_values(folder / ".env").items()}


def rendered(variables: dict[str, str]) -> dict[str, Any]:
    """Return the content of docker-compose.yml with its variables replaced."""

    def value(found: re.Match[str]) -> str:
        return variables.get(found[1]) or found[2] or ""

    content: dict[str, Any] = yaml.safe_load(
        _VARIABLE.sub(value, (ROOT / "docker-compose.yml").read_text())
    )
    return content


def command_of(service: dict[str, Any]) -> list[str]:
    """Return the command of a service as a list."""
    command: str | list[str] = service.get("command", [])
    return shlex.split(command) if isinstance(command, str) else command


def secrets_of(service: dict[str, Any]) -> set[str]:
    """Return the names of the secrets that a service gets as files in /run/secrets."""
    given = service.get("secrets", ())
    return {each if isinstance(each, str) else each["source"] for each in given}
