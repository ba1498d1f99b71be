"""Errors as a person wants to read them, and exit codes: 2 for what the user wrote, 1 otherwise."""

from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from api.client import ApiError
from searchd.domain.errors import InvalidValueError, SearchdError

FAILED = 1
USAGE = 2


class ReadableErrors(TyperGroup):
    """A group of commands whose known errors become one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            typer.echo(f"error: {describe(error)}", err=True)
            raise typer.Exit(USAGE) from error
        except InvalidValueError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(USAGE) from error
        except (ApiError, SearchdError, OSError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(FAILED) from error


def describe(error: ValidationError) -> str:
    """Every field that is wrong, one on each line."""
    lines = [
        f"  {'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}"
        for each in error.errors()
    ]
    return "\n".join([f"not a valid {error.title}:", *lines])


def fail(message: str) -> typer.Exit:
    """Says what failed; to be raised."""
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(FAILED)
