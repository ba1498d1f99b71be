"""The endpoints archive and unarchive, of every resource that has a list of its own."""

from collections.abc import Callable

from fastapi import APIRouter, Response, status
from sqlalchemy.orm import Session

from api.auth import CallerDep, check_owner
from api.dependencies import DatabaseDep, Reference
from searchd.store.models.resources import AnyArchivable
from searchd.store.resources import archiving

CALLS: dict[str, tuple[Callable[[Session, AnyArchivable], None], str]] = {
    "archive": (
        archiving.archive,
        "Archive a {noun} that has ended: lists leave it out, unless `archived` is given. Nothing "
        "else changes: its name stays taken, it can be read and used, and its files are kept. It "
        "is listed again once it continues.",
    ),
    "unarchive": (archiving.unarchive, "List an archived {noun} again."),
}
"""The store's function and the description of each endpoint, by the last part of its path."""


def add_archiving(
    router: APIRouter, noun: str, get: Callable[[Session, str], AnyArchivable]
) -> None:
    """Add the two endpoints to the routes of a resource.

    Args:
        router: Router of the resource.
        noun: What users call the resource, for example "search".
        get: Finds the resource by id or name.
    """
    for verb, (change, description) in CALLS.items():
        router.add_api_route(
            f"/{{reference}}/{verb}",
            _endpoint(change, get),
            methods=["POST"],
            status_code=status.HTTP_204_NO_CONTENT,
            response_class=Response,
            responses={204: {"description": f"The {noun} is {verb}d."}},
            name=f"{verb}_{noun.replace(' ', '_')}",
            description=f"{description.format(noun=noun)} Repeating the request changes nothing.",
        )


def _endpoint(
    change: Callable[[Session, AnyArchivable], None],
    get: Callable[[Session, str], AnyArchivable],
) -> Callable[..., Response]:
    def call(reference: Reference, database: DatabaseDep, caller: CallerDep) -> Response:
        with database.write() as session:
            row = get(session, reference)
            check_owner(caller, row)
            change(session, row)
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    return call
