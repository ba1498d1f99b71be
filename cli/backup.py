"""`searchd backup` and `searchd restore`: the database and the artifact store, which are all state.

For operators: the commands open both by the settings, and need no running service.
"""

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from sqlalchemy import URL, inspect, make_url

from searchd import artifacts, settings
from searchd.domain.errors import ConflictError, InvalidValueError, SearchdError
from searchd.store import Database, upgrade

_NOTE, _DATABASE, _ARTIFACTS = "backup.json", "database", "artifacts"
_LIBPQ = {"host": "PGHOST", "port": "PGPORT", "username": "PGUSER", "password": "PGPASSWORD"}
"""Variables of PostgreSQL's programs by the parts of a URL. Command lines show passwords."""


class Note(BaseModel):
    """What a backup says about itself."""

    created_at: datetime
    database: str
    """The kind of database: sqlite or postgresql."""
    artifacts: str
    """URI of the artifact store, which the database names in every file."""
    num_files: int | None
    """Number of files of the artifact store; None if it was left out."""


Artifacts = Annotated[
    bool,
    typer.Option(
        help="Whether to include the artifact store. Without it, for a store with copies or "
        "versions of its own, only the database."
    ),
]


def backup(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="New folder for the backup.")],
    artifact_store: Artifacts = True,
) -> None:
    """Copy the database and the artifact store into a folder. The service may run meanwhile.

    The database comes first, as it is at one moment, so that every file it names is in the copy,
    except those that garbage collection removes meanwhile. Prints where the backup is.
    """
    loaded = settings.load()
    if folder.exists() and any(folder.iterdir()):
        raise ConflictError(f"{folder} is not empty; give a new folder for each backup")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    url = make_url(loaded.database)
    _dump(url, folder / _DATABASE)
    store, copy = loaded.artifact_root, str((folder / _ARTIFACTS).absolute())
    note = Note(
        created_at=datetime.now(UTC),
        database=url.get_backend_name(),
        artifacts=store,
        num_files=artifacts.copy_folder(store, copy) if artifact_store else None,
    )
    (folder / _NOTE).write_text(note.model_dump_json(indent=2))  # last: it marks a complete backup
    typer.echo(f"{folder}: the database and {note.num_files or 0} files of {store}")


def restore(
    folder: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, help="Folder that `searchd backup` wrote, with its files."
        ),
    ],
    artifact_store: Artifacts = True,
) -> None:
    """Restore a backup into an empty database, and the artifact store. The service must not run.

    The database of a backup by an earlier version is migrated. Work that was running at the time of
    the backup continues when the service starts.
    """
    loaded = settings.load()
    note, url = _read_note(folder), make_url(loaded.database)
    _check_fits(note, url, loaded.artifact_root)
    _check_empty(url)
    if artifact_store and note.num_files is not None:
        artifacts.copy_folder(str((folder / _ARTIFACTS).absolute()), loaded.artifact_root)
    _load(url, folder / _DATABASE)
    upgrade(loaded.database)
    typer.echo(f"restored the backup of {note.created_at:%Y-%m-%d %H:%M} UTC; start the service")


def _read_note(folder: Path) -> Note:
    try:
        return Note.model_validate(json.loads((folder / _NOTE).read_bytes()))
    except (OSError, ValueError) as error:
        raise InvalidValueError(f"{folder} has no complete backup: {error}") from error


def _check_fits(note: Note, url: URL, store: str) -> None:
    if note.database != url.get_backend_name():
        raise InvalidValueError(
            f"the backup is of {note.database}, but SEARCHD_DATABASE_URL names "
            f"{url.get_backend_name()}; restore into the same kind of database"
        )
    if note.artifacts != store:
        raise InvalidValueError(
            f"the backup has files of {note.artifacts}, and its database names them there, but "
            f"SEARCHD_ARTIFACTS is {store}; restore with SEARCHD_ARTIFACTS={note.artifacts}"
        )


def _check_empty(url: URL) -> None:
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return
    with closing(Database(url.render_as_string(hide_password=False))) as database:
        tables = inspect(database.engine).get_table_names()
    if tables:
        raise ConflictError(
            f"{url.render_as_string()} has {len(tables)} tables already; restore into a new one"
        )


def _dump(url: URL, file: Path) -> None:
    if url.get_backend_name() == "postgresql":
        _run(url, "pg_dump", "--format=custom", f"--file={file}")
        return
    source = Path(url.database or "")
    if not source.exists():
        raise InvalidValueError(f"there is no database {source}; see SEARCHD_DATA_FOLDER")
    with closing(sqlite3.connect(source)) as given, closing(sqlite3.connect(file)) as copy:
        given.backup(copy)


def _load(url: URL, file: Path) -> None:
    if url.get_backend_name() == "postgresql":
        options = ("--exit-on-error", "--no-owner", "--single-transaction")
        _run(url, "pg_restore", *options, f"--dbname={url.database}", str(file))
        return
    target = Path(url.database or "")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


def _run(url: URL, program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs on a database."""
    found = shutil.which(program) or next(
        iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True)), None
    )
    if found is None:
        raise SearchdError(
            f"{program} is missing; install it with: apt-get install postgresql-client"
        )
    given = {"PGDATABASE": url.database, "PGHOST": url.query.get("host")}
    given |= {v: getattr(url, part) for part, v in _LIBPQ.items() if getattr(url, part)}
    environment = {name: str(value) for name, value in given.items() if value}
    done = subprocess.run(
        [found, *arguments], env={**os.environ, **environment}, capture_output=True, text=True
    )
    if done.returncode:
        raise SearchdError(f"{program} failed: {done.stderr.strip()}")
