"""A typed client of the API.

with Client("http://127.0.0.1:8080") as client:
    search = client.submit_search(SearchSpec(name="first", dataset="shapes", pool="teachers"))
    for event in client.watch(search):
        ...
    front = (client.pareto(search.id)).front

If the service requires a token, the client takes it from the environment variable SEARCHD_TOKEN.
"""

from collections.abc import Iterator
from functools import partial
from typing import TypeVar

from api import schemas
from api.client.protocol import (
    PATHS,
    FailedKind,
    ListedKind,
    Resource,
    Submitted,
    request_body,
)
from api.client.synchronous.datasets import DatasetCalls
from api.client.synchronous.detectors import DetectorCalls
from api.client.synchronous.devices import DeviceCalls
from api.client.synchronous.observability import ObservabilityCalls
from api.client.synchronous.pools import PoolCalls
from api.client.synchronous.runs import RunCalls
from api.client.synchronous.transport import until_ended
from api.schemas.distillations import Distillation

R = TypeVar("R", bound=Resource)


class Client(
    DatasetCalls,
    PoolCalls,
    RunCalls,
    DetectorCalls,
    DeviceCalls,
    ObservabilityCalls,
):
    """The client of the API. Every method raises `ApiError` if the service refuses the call or is
    unreachable.

    A call that the service puts off (429, 503), or whose connection breaks, is repeated with
    growing pauses, if it may arrive twice: submissions have a key by which they may. The first call
    does not wait for a service.

    Args:
        url: URL of the service.
        timeout_s: Timeout of a call in seconds.
        token: Access token. None uses SEARCHD_TOKEN of the environment, if it is set.
        retry_s: Seconds for which a call is repeated; 0 repeats none.

    Raises:
        InvalidValueError: The URL is none of HTTP, or the token has characters that no token can
            have.
    """

    def validate(self, spec: Submitted) -> schemas.Validation:
        """Check whether a spec would be accepted, without creating anything.

        Raises:
            ApiError: It would be refused; the message says why.
        """
        path = next(path for kind, path in PATHS.items() if isinstance(spec, kind))
        return self._post(
            path,
            schemas.Validation,
            json=request_body(spec),
            params={"validate_only": True},
            repeatable=True,
        )

    def delete_failed(self, kind: FailedKind, name: str) -> None:
        """Delete a pool, teacher, search or distillation that failed before its first result."""
        self._call("DELETE", f"/{kind}/{name}")

    def archive(self, kind: ListedKind, name: str) -> None:
        """Leave a resource that has ended out of lists; `archived=True` lists it. Nothing is
        deleted."""
        self._call("POST", f"/{kind}/{name}/archive", repeatable=True)

    def unarchive(self, kind: ListedKind, name: str) -> None:
        """List an archived resource again."""
        self._call("POST", f"/{kind}/{name}/unarchive", repeatable=True)

    def refresh(self, resource: R) -> R:
        """Return a resource as it is now.

        Args:
            resource: A data set, pool, teacher, search, distillation or export, as another method
                returned it.
        """
        found: R = self._get(_path(resource), type(resource))
        return found

    def wait(self, resource: R, *, poll_s: float = 1.0, timeout_s: float | None = None) -> R:
        """Wait until a resource has ended, whatever its final status is, and return it anew.

        Args:
            resource: A data set, pool, teacher, search, distillation or export, as another method
                returned it.
            poll_s: Seconds between two looks.
            timeout_s: Seconds to wait at most; None waits without a limit.

        Raises:
            TimeoutError: It has not ended by then. It goes on in the service.
        """
        found: R = until_ended(partial(self.refresh, resource), poll_s, timeout_s)
        return found

    def watch(self, resource: R, *, after: int = 0) -> Iterator[schemas.Event]:
        """Iterate over the events of a resource and its trials, as they happen, until it has ended.

        Args:
            resource: A data set, pool, teacher, search or distillation, as another method returned
                it.
            after: Number of the last event that is already known.
        """
        return self._events(f"{_path(resource)}/events", after)


def _path(resource: Resource) -> str:
    match resource:
        case schemas.Export():
            return f"/detectors/{resource.trial_id}/exports/{resource.id}"
        case schemas.Dataset():
            return f"/datasets/{resource.id}"
        case schemas.Pool():
            return f"/pools/{resource.id}"
        case schemas.Teacher():
            return f"/teachers/{resource.id}"
        case Distillation():
            return f"/distillations/{resource.id}"
        case _:
            return f"/searches/{resource.id}"
