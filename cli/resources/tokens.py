"""`searchd token`: create, list and revoke access tokens. For operators: the commands open the
database of the settings, and need no running service."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict

from cli.lists import FilterOption, LimitOption, Selection, SortOption
from cli.output import Format, FormatOption, show_list, text
from searchd import settings
from searchd.store import Database, Role, upgrade
from searchd.store.resources import tokens

app = typer.Typer(
    no_args_is_help=True, help="Access tokens of the API, which SEARCHD_AUTH=on requires."
)

NameArgument = Annotated[
    str, typer.Argument(help="Name of the token, which becomes the owner of what it creates.")
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--data-folder",
        file_okay=False,
        help="Data folder of `searchd up`. SEARCHD_DATA_FOLDER by default.",
    ),
]


class Token(BaseModel):
    """A token without its secret."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    role: Role
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@app.command()
def create(
    name: NameArgument,
    role: Annotated[
        Role,
        typer.Option(
            help="Role of the token. read: see everything. submit: also create, and change what it "
            "created. admin: also change what others created."
        ),
    ] = Role.SUBMIT,
    data_folder: FolderOption = None,
) -> None:
    """Create a token and print its secret, which is never shown again."""
    with _database(data_folder) as database, database.write() as session:
        secret = tokens.create(session, name, role)
        where = database.engine.url.render_as_string(hide_password=True)
    typer.echo(secret)
    typer.echo(
        f"Token {name} with role {role} in {where}. It cannot be shown again; give it to clients "
        "as SEARCHD_TOKEN.",
        err=True,
    )


@app.command("list")
def list_tokens(
    filters: FilterOption = None,
    sort: SortOption = None,
    limit: LimitOption = None,
    data_folder: FolderOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """List all tokens without their secrets, including revoked ones."""
    with _database(data_folder) as database, database.read() as session:
        items = [Token.model_validate(row) for row in tokens.every(session)]
    columns = {
        "NAME": lambda t: t.name,
        "ROLE": lambda t: t.role,
        "CREATED": lambda t: t.created_at,
        "LAST USED": lambda t: t.last_used_at,
        "REVOKED": lambda t: t.revoked_at,
    }
    selected = Selection.of(filters, sort, limit, by_service=False).apply(items)
    show_list(selected, columns, output)


@app.command()
def revoke(name: NameArgument, data_folder: FolderOption = None) -> None:
    """Revoke a token, so that its next request is refused. What it created is kept."""
    with _database(data_folder) as database, database.write() as session:
        revoked_at = tokens.revoke(session, name).revoked_at
    typer.echo(f"Token {name} was revoked at {text(revoked_at)}.")


@contextmanager
def _database(data_folder: Path | None) -> Iterator[Database]:
    loaded = settings.load()
    if data_folder is not None:
        loaded = loaded.model_copy(update={"data_folder": data_folder})
    logging.getLogger("alembic").setLevel(logging.WARNING)  # its steps are for a service's log
    upgrade(loaded.database)
    database = Database(loaded.database)
    try:
        yield database
    finally:
        database.close()
