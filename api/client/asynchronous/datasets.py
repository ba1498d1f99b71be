"""The calls about data sets."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from api import schemas
from api.client.asynchronous.items import AsyncItems
from api.client.asynchronous.transport import AsyncTransport, until_ended
from searchd.spec import DatasetImport, DatasetSpec


class AsyncDatasetCalls(AsyncTransport):
    """Part of the client; see `AsyncClient`."""

    async def create_dataset(
        self, spec: DatasetSpec | DatasetImport, *, key: str | None = None
    ) -> schemas.Dataset:
        """Register a data set. Repeating the call with the same `key` creates nothing new."""
        return await self._create("/datasets", spec, key, schemas.Dataset)

    async def get_dataset(self, dataset: str) -> schemas.Dataset:
        """Return a data set by id or name."""
        return await self._get(f"/datasets/{dataset}", schemas.Dataset)

    def list_datasets(self, **filters: Any) -> AsyncItems[schemas.Dataset]:
        """Iterate over all data sets, newest first, or over those that
        parameters of the list select: `status`, `name`, `since`, `sort`."""
        return self._list("/datasets", schemas.Dataset, filters)

    async def wait_for_dataset(self, dataset: str, *, poll_s: float = 1.0) -> schemas.Dataset:
        """Wait until the check of a data set has ended."""
        return await until_ended(partial(self.get_dataset, dataset), poll_s)

    def dataset_events(self, dataset: str, *, after: int = 0) -> AsyncIterator[schemas.Event]:
        """Iterate over the events of a data set after event number `after` until its check has
        ended."""
        return self._events(f"/datasets/{dataset}/events", after)

    async def recheck_dataset(self, dataset: str) -> schemas.Dataset:
        """Check the files of a data set again."""
        return await self._post(f"/datasets/{dataset}/recheck", schemas.Dataset, repeatable=True)

    async def rename_dataset(self, dataset: str, name: str) -> schemas.Dataset:
        """Give a data set another name, also in everything that uses it."""
        response = await self._call("PATCH", f"/datasets/{dataset}", json={"name": name})
        return schemas.Dataset.model_validate_json(response.content)

    async def delete_dataset(self, dataset: str) -> None:
        """Delete a data set that nothing uses. Images and files of users are not touched."""
        await self._call("DELETE", f"/datasets/{dataset}")

    async def dataset_statistics(self, dataset: str) -> schemas.DatasetStatistics:
        """Return the statistics of a checked data set."""
        return await self._get(f"/datasets/{dataset}/statistics", schemas.DatasetStatistics)

    async def dataset_samples(self, dataset: str) -> list[schemas.DatasetSample]:
        """Return sample images of a checked data set, with their objects."""
        return (await self._get(f"/datasets/{dataset}/samples", schemas.DatasetSamples)).samples

    async def draw_dataset_sample(self, dataset: str, number: int, *, max_side: int = 800) -> bytes:
        """Return a sample image with its boxes drawn, as JPEG."""
        path = f"/datasets/{dataset}/samples/{number}/image"
        return (await self._call("GET", path, params={"max_side": max_side})).content
