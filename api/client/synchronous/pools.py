"""The calls about pools and teachers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from api import schemas
from api.client.protocol import LifecycleRequest
from api.client.synchronous.items import Items
from api.client.synchronous.transport import Transport, until_ended
from api.schemas.forecasts import PoolForecast
from searchd.spec import PoolSpec, TeacherSpec


class PoolCalls(Transport):
    """Part of the client; see `Client`."""

    def create_pool(self, spec: PoolSpec, *, key: str | None = None) -> schemas.PoolDetails:
        """Create a pool, which the service trains."""
        return self._create("/pools", spec, key, schemas.PoolDetails)

    def forecast_pool(self, spec: PoolSpec) -> PoolForecast:
        """Forecast the cost of training a pool, without creating it."""
        return self._create("/pools/forecast", spec, None, PoolForecast)

    def get_pool(self, pool: str) -> schemas.PoolDetails:
        """Return a pool by id or name."""
        return self._get(f"/pools/{pool}", schemas.PoolDetails)

    def list_pools(self, **filters: Any) -> Items[schemas.Pool]:
        """Iterate over all pools, newest first, or over those that
        parameters of the list select: `status`, `name`, `since`, `sort`."""
        return self._list("/pools", schemas.Pool, filters)

    def ask_of_pool(self, pool: str, request: LifecycleRequest) -> schemas.PoolDetails:
        """Request that the training of a pool pauses, resumes or ends."""
        return self._post(f"/pools/{pool}/{request}", schemas.PoolDetails, repeatable=True)

    def wait_for_pool(self, pool: str, *, poll_s: float = 1.0) -> schemas.PoolDetails:
        """Wait until the training of a pool has ended."""
        return until_ended(partial(self.get_pool, pool), poll_s)

    def pool_events(self, pool: str, *, after: int = 0) -> Iterator[schemas.Event]:
        """Iterate over the events of a pool after event number `after` until it has ended."""
        return self._events(f"/pools/{pool}/events", after)

    def create_teacher(
        self, spec: TeacherSpec, *, key: str | None = None
    ) -> schemas.TeacherDetails:
        """Register a teacher, which the service evaluates, and trains first if it is to."""
        return self._create("/teachers", spec, key, schemas.TeacherDetails)

    def get_teacher(self, teacher: str) -> schemas.TeacherDetails:
        """Return a teacher by id or name."""
        return self._get(f"/teachers/{teacher}", schemas.TeacherDetails)

    def ask_of_teacher(self, teacher: str, request: LifecycleRequest) -> schemas.TeacherDetails:
        """Request that the training of a teacher pauses, resumes or ends."""
        return self._post(f"/teachers/{teacher}/{request}", schemas.TeacherDetails, repeatable=True)

    def list_teachers(self, **filters: Any) -> Items[schemas.Teacher]:
        """Iterate over all teachers, newest first, or over those that
        parameters of the list select: `status`, `name`, `since`, `sort`."""
        return self._list("/teachers", schemas.Teacher, filters)

    def wait_for_teacher(self, teacher: str, *, poll_s: float = 1.0) -> schemas.TeacherDetails:
        """Wait until the training and evaluation of a teacher have ended."""
        return until_ended(partial(self.get_teacher, teacher), poll_s)

    def teacher_events(self, teacher: str, *, after: int = 0) -> Iterator[schemas.Event]:
        """Iterate over the events of a teacher after event number `after` until it has ended."""
        return self._events(f"/teachers/{teacher}/events", after)

    def download_supernet(self, pool: str, target: Path) -> Path:
        """Download the weights of a trained pool's supernet and check their SHA-256.

        Args:
            pool: Name or id of the pool.
            target: Path to write to. The file appears there complete or not at all.

        Raises:
            ApiError: The pool is not trained, or what arrived does not match its SHA-256.
        """
        stored = (self.get_pool(pool)).supernet
        return self._download(
            f"/pools/{pool}/supernet", target, None if stored is None else stored.sha256
        )
