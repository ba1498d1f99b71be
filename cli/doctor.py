"""`searchd doctor`: what is missing on this machine, and the command that fixes it."""

import importlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from cli.errors import FAILED
from cli.output import Format, FormatOption, show_list
from cli.service import URL, UrlOption

_INSTALL = "make install"
_MIN_FREE_GIB = 5
_MIN_MEMORY_GIB = 5.5
"""The demo runs in 6 GiB, of which the system shows a little less."""


class Check(BaseModel):
    """The result of checking one requirement."""

    name: str
    ok: bool
    found: str
    fix: str = ""
    """The command that fixes the problem; empty if there is none."""


def doctor(
    data_folder: Annotated[
        Path, typer.Option(help="Data folder of `searchd up`, whose disk is checked.")
    ] = Path("searchd-data"),
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Check this machine: show what is missing, and the command that fixes it.

    Checked are what is installed, GPU, disk, memory, database, artifact store, the port of the API,
    and the clock against that of a service. The exit code is 1 if something is missing.
    """
    checks = [*run_checks(data_folder), *service_checks(data_folder, url)]
    columns: dict[str, Callable[[Check], object]] = {
        "STATUS": lambda c: "ok" if c.ok else "MISSING",
        "REQUIREMENT": lambda c: c.name,
        "FOUND": lambda c: c.found,
        "FIX": lambda c: c.fix,
    }
    show_list(checks, columns, output)
    if not all(check.ok for check in checks):
        raise typer.Exit(FAILED)


def run_checks(data_folder: Path) -> list[Check]:
    """Check everything that the demo needs, in the order in which it is best fixed."""
    return [
        _python(),
        _compiler(),
        _headers(),
        _module("torch", "torch"),
        _module("mmcv", "mmcv"),
        # An mmcv without compiled operators imports, and fails at the first RoIAlign.
        _module("mmcv's compiled operators", "mmcv._ext"),
        _module("mmdet", "mmdet"),
        _module("ray", "ray"),
        _disk(data_folder),
        _memory(),
    ]


def service_checks(data_folder: Path, url: str) -> list[Check]:
    """Check the places that a service uses, by the settings in the environment."""
    from cli import doctor_service
    from searchd import settings

    loaded = settings.load()
    if "SEARCHD_DATA_FOLDER" not in os.environ:
        loaded = loaded.model_copy(update={"data_folder": data_folder})
    return [
        doctor_service.cuda(),
        doctor_service.database(loaded),
        doctor_service.artifact_store(loaded),
        doctor_service.port(loaded),
        doctor_service.clock(url),
    ]


def check(name: str, ok: bool, found: str, fix: str) -> Check:
    """Return the result of a check; what mends it is left out if nothing is to be mended."""
    return Check(name=name, ok=ok, found=found, fix="" if ok else fix)


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    fix = "apt-get install python3.11 python3.11-venv python3.11-dev"
    return check("Python 3.11 to 3.13", (3, 11) <= sys.version_info < (3, 14), found, fix)


def _compiler() -> Check:
    found = shutil.which("c++") or shutil.which("g++")
    return check("C++ compiler", found is not None, found or "none", "apt-get install g++")


def _headers() -> Check:
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    found = str(header) if header.is_file() else f"no {header}"
    return check("Python's headers", header.is_file(), found, "apt-get install python3-dev")


def _module(name: str, module: str) -> Check:
    try:
        imported = importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        return check(name, False, f"{type(error).__name__}: {error}", _INSTALL)
    return check(name, True, str(getattr(imported, "__version__", "importable")), _INSTALL)


def _disk(folder: Path) -> Check:
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir()
    )
    free_gib = shutil.disk_usage(existing).free / 2**30
    fix = "searchd up --data-folder FOLDER, on a disk with more free space"
    name = f"{_MIN_FREE_GIB} GiB free disk"
    return check(name, free_gib >= _MIN_FREE_GIB, f"{free_gib:.1f} GiB in {existing}", fix)


def _memory() -> Check:
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    fix = "a machine with more memory, or a smaller batch_size in the specs"
    return check("6 GiB memory", gib >= _MIN_MEMORY_GIB, f"{gib:.1f} GiB", fix)
