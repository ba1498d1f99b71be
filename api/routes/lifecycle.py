"""The endpoints pause, resume, cancel and kill, of every resource that runs in the cluster, and the
deletion of what failed without a result."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import CallerDep, check_owner
from api.dependencies import DatabaseDep, Reference
from searchd import artifacts
from searchd.store.models import WorkRow
from searchd.store.models.resources import AnyResource
from searchd.store.resources import removal
from searchd.store.work import requests

R = TypeVar("R", bound=AnyResource)

CALLS: dict[str, tuple[Callable[[Session, str], WorkRow], str]] = {
    "pause": (
        requests.ask_to_pause,
        "Pause the {noun}: it stops within one time slice and releases its CPUs and GPUs. After "
        "resume it continues from its last checkpoint; no training is lost.",
    ),
    "resume": (requests.ask_to_resume, "Resume the paused {noun} from its last checkpoint."),
    "cancel": (
        requests.ask_to_cancel,
        "Cancel the {noun}: it ends within one time slice. Finished results are kept.",
    ),
    "kill": (
        requests.ask_to_kill,
        "Kill the {noun}: it ends at once, without waiting for its workers. Finished results are "
        "kept.",
    ),
}
"""The store's function and the description of each endpoint, by the last part of its path."""


def add_calls(
    router: APIRouter,
    noun: str,
    get: Callable[[Session, str], R],
    view: Callable[[Session, R], BaseModel],
    answer: type[BaseModel],
) -> None:
    """Add the four endpoints to the routes of a resource.

    Args:
        router: Router of the resource.
        noun: What users call the resource, for example "search".
        get: Finds the resource by id or name.
        view: Makes the response from the resource.
        answer: Model of the response.
    """
    for verb, (ask, description) in CALLS.items():
        router.add_api_route(
            f"/{{reference}}/{verb}",
            _endpoint(ask, get, view),
            methods=["POST"],
            status_code=status.HTTP_202_ACCEPTED,
            response_model=answer,
            name=f"{verb}_{noun}",
            description=f"{description.format(noun=noun)} Repeating the request changes nothing.",
        )


def _endpoint(
    ask: Callable[[Session, str], WorkRow],
    get: Callable[[Session, str], R],
    view: Callable[[Session, R], BaseModel],
) -> Callable[..., BaseModel]:
    def call(reference: Reference, database: DatabaseDep, caller: CallerDep) -> BaseModel:
        with database.write() as session:
            row = get(session, reference)
            check_owner(caller, row)
            ask(session, row.id)
            return view(session, row)

    return call


def add_deletion(
    router: APIRouter, noun: str, folder: str, get: Callable[[Session, str], AnyResource]
) -> None:
    """Add the endpoint that deletes a resource which failed without a result.

    Args:
        router: Router of the resource.
        noun: What users call the resource, for example "search".
        folder: Name of the folder in the artifact store with a folder for each resource.
        get: Finds the resource by id or name.
    """

    def delete(
        reference: Reference, request: Request, database: DatabaseDep, caller: CallerDep
    ) -> Response:
        with database.write() as session:
            row = get(session, reference)
            check_owner(caller, row)
            resource_id = row.id
            removal.delete_failed(session, row)
        if request.app.state.artifacts:
            artifacts.delete(artifacts.join(request.app.state.artifacts, folder, resource_id))
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    router.add_api_route(
        "/{reference}",
        delete,
        methods=["DELETE"],
        status_code=status.HTTP_204_NO_CONTENT,
        response_class=Response,
        responses={204: {"description": f"The {noun} was deleted."}},
        name=f"delete_{noun}",
        description=f"Delete a {noun} that failed before its first result: no epoch was finished, "
        "and there is no measurement and no file. It must not be used by anything else.",
    )
