"""What `searchd doctor` checks of the places that a service uses: GPU, database, artifact store,
port, clock."""

import os
import shutil
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from uuid import uuid4

import httpx

from cli import ports
from cli.doctor import Check, check
from searchd import artifacts
from searchd.domain.errors import SearchdError
from searchd.settings import Settings

MAX_CLOCK_DIFFERENCE_S = 5.0
_POSTGRESQL = "SEARCHD_DATABASE_URL=postgresql+psycopg://USER:PASSWORD@HOST/NAME"
_TIMEOUT_S = 3.0


def cuda() -> Check:
    """Check that torch can use the GPU, if this machine has one."""
    name = "GPU"
    has_gpu = shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists()
    try:
        import torch
    except (ImportError, OSError) as error:  # the check of torch itself says how to mend it
        return check(name, not has_gpu, f"torch does not import: {error}", "make install")
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())}
        return check(name, True, f"{torch.cuda.device_count()} x {', '.join(sorted(names))}", "")
    found = "there is one, which torch cannot use" if has_gpu else "none; trials run on CPUs"
    fix = f"a driver that fits CUDA {torch.version.cuda}, or a build of torch with CUDA"
    return check(name, not has_gpu, found, fix)


def database(settings: Settings) -> Check:
    """Check that the database answers, or that its file can be made."""
    url = settings.database
    if url.startswith("sqlite:///"):
        file = Path(url.removeprefix("sqlite:///"))
        if not file.exists():
            writable = _can_write(file.parent)
            fix = f"a data folder that you may write to, not {file.parent}"
            return check("Database", writable, f"{file} will be made", fix)
    return _answers(url)


def _answers(url: str) -> Check:
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        shown = make_url(url).render_as_string(hide_password=True)
        engine = create_engine(url)
        inspect(engine).get_table_names()  # SQLite looks at its file no earlier
        engine.dispose()
    except NoSuchModuleError:
        return check("Database", False, f"{shown}: searchd uses SQLite or PostgreSQL", _POSTGRESQL)
    except ArgumentError:  # it may hold a password, and is not shown
        return check("Database", False, "SEARCHD_DATABASE_URL is not a URL", _POSTGRESQL)
    except ImportError as error:
        return check("Database", False, f"{shown}: {error}", "pip install 'searchd[postgres]'")
    except SQLAlchemyError as error:
        found = f"{shown}: {str(error).partition(chr(10))[0]}"
        return check("Database", False, found, _mend(url))
    return check("Database", True, shown, "")


def _mend(url: str) -> str:
    if url.startswith("sqlite"):
        return "another data folder, or SEARCHD_DATABASE_URL; or restore a backup"
    return "start the server, or correct SEARCHD_DATABASE_URL"


def artifact_store(settings: Settings) -> Check:
    """Check that a small file can be written to the artifact store, read and deleted."""
    root, name = settings.artifact_root, "Artifact store"
    fix = "correct SEARCHD_ARTIFACTS, or the rights and the space there"
    if "://" not in root and not Path(root).exists():
        return check(name, _can_write(Path(root)), f"{root} will be made", fix)
    uri = artifacts.join(root, f"doctor-{uuid4().hex}")
    try:
        artifacts.write(uri, b"doctor", name="doctor")
        same = artifacts.read_bytes(uri) == b"doctor"
        artifacts.delete(uri)
    except ImportError as error:
        return check(name, False, f"{root}: {error}", "pip install 'searchd[s3]'")
    except (SearchdError, OSError, ValueError) as error:  # ValueError: unknown scheme
        return check(name, False, f"{root}: {error}", fix)
    return check(name, same, root, fix)


def port(settings: Settings) -> Check:
    """Check that the API can listen on its port, or does so already."""
    host, number = settings.api_host, settings.api_port
    name = f"Port {number}"
    if ports.identity(f"http://{host}:{number}") is not None:
        return check(name, True, "a searchd answers there", "")
    try:
        ports.check_free(host, number)
    except SearchdError as error:
        fix = "searchd up --port 0, or another SEARCHD_API_PORT"
        return check(name, False, str(error), fix)
    return check(name, True, f"free on {host}", "")


def clock(url: str) -> Check:
    """Check that this machine's clock agrees with that of the service, if one answers."""
    name, fix = "Clock", "timedatectl set-ntp true, on both machines"
    if ports.identity(url) is None:
        return check(name, True, f"not compared: no service at {url}", fix)
    try:
        answer = httpx.get(f"{url}/healthz", timeout=_TIMEOUT_S)
        there = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
        return check(name, True, f"not compared: no service at {url}", fix)
    off_s = abs(time.time() - there)
    found = f"{off_s:.0f} s from the service's at {url}"
    return check(name, off_s <= MAX_CLOCK_DIFFERENCE_S, found, fix)


def _can_write(folder: Path) -> bool:
    """Whether a folder, or the nearest one that exists above it, can be written to."""
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)
