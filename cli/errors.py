"""Readable errors, and the exit codes: 2 for wrong usage or an invalid spec, 1 for any failure."""

import re
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from searchd.domain.errors import InvalidValueError, SearchdError

# Pydantic, the specs and SQLAlchemy are imported where an error of theirs is described: most
# commands use only some of them, and all would wait for them.
if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel, ValidationError

    from searchd.spec.fields import Location

FAILED = 1
USAGE = 2
EXIT_CODES = "Exit codes: 0 success, 1 failure, 2 wrong usage or an invalid spec."


class ReadableErrors(TyperGroup):
    """A group of commands that reports known errors on stderr and by the exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InvalidValueError as error:
            raise fail(str(error), USAGE) from error
        except typer.BadParameter as error:  # its message may be that of pydantic
            message = error.message.replace("Value error, ", "")
            error.message = message.replace("Input should be", "must be")
            raise
        except SearchdError as error:
            raise fail(str(error)) from error
        except BrokenPipeError:  # whoever read the output, such as head, has enough
            raise  # Typer ends the command without a word
        except OSError as error:
            raise fail(_os_error(error)) from error
        except Exception as error:  # known ones are told apart by libraries that may not be loaded
            known = _of_library(error)
            if known is None:
                raise
            raise known from error


def _of_library(error: Exception) -> typer.Exit | None:
    """Report an error of pydantic or SQLAlchemy; None for others."""
    library = type(error).__module__.partition(".")[0]
    if library == "pydantic_core":
        from pydantic import ValidationError

        return fail(describe(error), USAGE) if isinstance(error, ValidationError) else None
    if library == "sqlalchemy":
        from sqlalchemy.exc import DBAPIError

        if isinstance(error, DBAPIError):
            first_line = str(error.orig).partition("\n")[0]
            return fail(f"the database cannot be used: {first_line}")
    return None


def _os_error(error: OSError) -> str:
    """Return which file cannot be used and why, without the number of the error."""
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def describe(
    error: "ValidationError",
    schema: "type[BaseModel] | None" = None,
    place: "Callable[[Location], str] | None" = None,
) -> str:
    """Describe a validation error: every invalid field and the reason, one per line.

    Args:
        error: The error.
        schema: Model that was validated, by which misspelt fields are recognized. None: found by
            the title of the error.
        place: Returns where the field at a location is in its file, such as "line 3, column 5", or
            nothing. None: the fields are from no file.
    """
    from searchd.settings import Settings
    from searchd.spec.sentences import field_errors, listed

    errors = field_errors(error.errors(), schema or _spec_of(error.title))
    if error.title == Settings.__name__:
        lines = [f"  SEARCHD_{str(each.location[0]).upper()}: {each.message}" for each in errors]
        return "\n".join(["the environment has invalid settings:", *lines])
    lines = [f"  {line}" for line in listed(errors, place)]
    return "\n".join([f"not a valid {_noun(error.title)}:", *lines])


def _noun(title: str) -> str:
    """Return the name of a spec in words: "search" for SearchSpec."""
    words = re.findall("[A-Z][^A-Z]*", title.removesuffix("Spec")) or [title]
    return " ".join(words).lower()


def _spec_of(title: str) -> "type[BaseModel] | None":
    from searchd.spec import Spec

    pending: list[type[BaseModel]] = [Spec]
    while pending:
        found = pending.pop()
        if found.__name__ == title:
            return found
        pending += found.__subclasses__()
    return None


def fail(message: str, exit_code: int = FAILED) -> typer.Exit:
    """Print the message to stderr and return the exception to raise."""
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(exit_code)
