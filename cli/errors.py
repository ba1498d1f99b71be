"""Readable errors, and the exit codes: 2 for wrong usage or an invalid spec, 1 for any failure."""

from typing import Any

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from typer.core import TyperGroup

from api.client import ApiError
from searchd.domain.errors import InvalidValueError, SearchdError

FAILED = 1
USAGE = 2
EXIT_CODES = "Exit codes: 0 success, 1 failure, 2 wrong usage or an invalid spec."


class ReadableErrors(TyperGroup):
    """A group of commands that reports known errors on stderr and by the exit code."""

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
    """Describe a validation error: every invalid field and the reason, one per line."""
    lines = [
        f"  {'.'.join(map(str, each['loc'])) or 'all fields together'}: {_reason(each)}"
        for each in error.errors()
    ]
    return "\n".join([f"not a valid {error.title}:", *lines])


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "required field is missing"
        case _:
            return error["msg"].removeprefix("Value error, ")


def fail(message: str) -> typer.Exit:
    """Print the message to stderr and return the exception to raise."""
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(FAILED)
