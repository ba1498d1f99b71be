"""A list of the API that is fetched page by page while it is iterated over."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import BaseModel

from api.schemas.notebook import frame, table

if TYPE_CHECKING:
    import pandas as pd

S = TypeVar("S", bound=BaseModel)


class Items(Generic[S]):
    """The items of a list. Each iteration fetches them anew, page by page, as they are needed.

    Args:
        fetch: Begins an iteration over all pages.
    """

    def __init__(self, fetch: Callable[[], Iterator[S]]) -> None:
        self._fetch = fetch

    def __iter__(self) -> Iterator[S]:
        return self._fetch()

    def to_list(self) -> list[S]:
        """Return all items."""
        return list(self)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return all items as a data frame of pandas, with a column such as `best.ap` for each
        field.

        Raises:
            ImportError: Pandas is not installed.
        """
        return frame(self.to_list())

    def _repr_html_(self) -> str:
        """Return the items as a table in HTML."""
        return table(self.to_list())
