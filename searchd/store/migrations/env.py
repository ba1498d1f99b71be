"""What Alembic runs: migrates the connection that `searchd.store.migrate` hands over."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context

from searchd.store import models
from searchd.store.base import AsJson, UtcDateTime


def render_item(kind: str, item: Any, _autogen_context: object) -> str | Literal[False]:
    """Migrations name plain column types: they must not change when the models' types do."""
    if kind != "type":
        return False
    if isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, AsJson | sa.JSON):
        return "sa.JSON()"
    if isinstance(item, sa.Enum):
        return f"sa.String(length={item.length})"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=models.WorkRow.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    render_item=render_item,
)
context.run_migrations()
