"""Answers that are kept in memory until what they show has changed."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Annotated

from fastapi import Depends, Request, Response
from pydantic import BaseModel

_MAX_ANSWERS = 64


class Answers:
    """The answers of one process, the latest used ones. Safe to share between threads.

    A key names everything that an answer depends on, such as the number of the last event of a run.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = Lock()

    def of(self, key: Hashable, make: Callable[[], BaseModel]) -> Response:
        """Return the answer with this key, which `make` makes unless it is kept."""
        with self._lock:
            body = self._kept.get(key)
            if body is not None:
                self._kept.move_to_end(key)
        if body is None:
            body = make().model_dump_json().encode()
            with self._lock:
                self._kept[key] = body
                while len(self._kept) > _MAX_ANSWERS:
                    self._kept.popitem(last=False)
        return Response(body, media_type="application/json")


def _answers(request: Request) -> Answers:
    answers: Answers = request.app.state.answers
    return answers


AnswersDep = Annotated[Answers, Depends(_answers)]
