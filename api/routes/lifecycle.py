"""Calls of everything that is carried out in the cluster: pause, resume, cancel, kill."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import APIRouter, status
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import CallerDep, check_owner
from api.dependencies import DatabaseDep, Reference
from searchd.store.models import WorkRow
from searchd.store.models.resources import AnyResource
from searchd.store.work import requests

R = TypeVar("R", bound=AnyResource)

CALLS: dict[str, tuple[Callable[[Session, str], WorkRow], str]] = {
    "pause": (
        requests.ask_to_pause,
        "Ask for the {noun} to stop within a time slice; then it holds nothing of the cluster. "
        "When it is resumed it goes on from there: nothing that was trained is lost.",
    ),
    "resume": (requests.ask_to_resume, "Ask for the paused {noun} to go on."),
    "cancel": (
        requests.ask_to_cancel,
        "Ask for the {noun} to stop for good within a time slice. Everything finished is kept.",
    ),
    "kill": (
        requests.ask_to_kill,
        "Ask for the {noun} to be stopped for good without waiting for its workers. "
        "Everything finished is kept.",
    ),
}
"""By the last part of the path."""


def add_calls(
    router: APIRouter,
    noun: str,
    get: Callable[[Session, str], R],
    view: Callable[[Session, R], BaseModel],
    answer: type[BaseModel],
) -> None:
    """Add them to the routes of a resource.

    Args:
        router: Of the resource.
        noun: What users call it.
        get: Finds it by id or name.
        view: What is answered with.
        answer: Type of that.
    """
    for verb, (ask, description) in CALLS.items():
        router.add_api_route(
            f"/{{reference}}/{verb}",
            _endpoint(ask, get, view),
            methods=["POST"],
            status_code=status.HTTP_202_ACCEPTED,
            response_model=answer,
            name=f"{verb}_{noun}",
            description=f"{description.format(noun=noun)} Asking twice is the same as asking once.",
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
