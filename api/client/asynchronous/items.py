"""A list of the API that is fetched page by page while it is iterated over."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import BaseModel

from api.schemas.notebook import frame, table

if TYPE_CHECKING:
    import pandas as pd

S = TypeVar("S", bound=BaseModel)


class AsyncItems(Generic[S]):
    """The items of a list. Each iteration fetches them anew, page by page, as they are needed.

    Args:
        fetch: Begins an iteration over all pages.
    """

    def __init__(self, fetch: Callable[[], AsyncIterator[S]]) -> None:
        self._fetch = fetch

    def __aiter__(self) -> AsyncIterator[S]:
        return self._fetch()

    async def to_list(self) -> list[S]:
        """Return all items."""
        return [item async for item in self]

    async def to_dataframe(self) -> "pd.DataFrame":
        """Return all items as a data frame of pandas, with a column such as `best.ap` for each
        field.

        Raises:
            ImportError: Pandas is not installed.
        """
        return frame(await self.to_list())

    async def to_html(self) -> str:
        """Return the items as a table in HTML."""
        return table(await self.to_list())
