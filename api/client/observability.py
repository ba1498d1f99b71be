"""The calls of the API about logs of trials."""

from collections.abc import Iterator
from typing import Literal

from api.client.transport import Transport
from api.schemas.trial_logs import LogLine, TrialLogPage

RunKind = Literal["searches", "distillations"]


class ObservabilityCalls(Transport):
    """Part of the client; see `api.client.client`."""

    def trial_log(
        self,
        run: str,
        trial: str,
        *,
        kind: RunKind = "searches",
        attempt: int | None = None,
        tail: int | None = None,
        after: int = 0,
    ) -> Iterator[LogLine]:
        """Iterate over what the worker of a trial has logged, oldest line first.

        Args:
            run: Name or id of the search or distillation.
            trial: Name of the trial, such as "12".
            kind: Which of both the run is.
            attempt: Number of the attempt. None: the latest.
            tail: Number of lines from the end. None: all.
            after: Number of the line to start after.
        """
        given = {"attempt": attempt, "tail": tail, "page_token": after or None}
        params = {name: str(value) for name, value in given.items() if value is not None}
        path = f"/{kind}/{run}/trials/{trial}/log"
        while True:
            page = self._get(path, TrialLogPage, params)
            yield from page.items
            if page.next_page_token is None:
                return
            params = params | {"page_token": page.next_page_token}
            params.pop("tail", None)
