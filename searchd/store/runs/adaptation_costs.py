"""Adaptation costs: measured once, and reused for the same detectors."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from searchd.store.models import AdaptationCostRow


def known(session: Session, keys: Iterable[str]) -> dict[str, float]:
    """Return the costs that are stored, by their keys."""
    rows = session.scalars(select(AdaptationCostRow).where(AdaptationCostRow.key.in_(list(keys))))
    return {row.key: row.cost for row in rows}


def keep(session: Session, key: str, of: Mapping[str, Any], cost: float) -> None:
    """Store a measured cost. Has no effect if it is stored already.

    Args:
        session: A writing session.
        key: SHA-256 of `of`.
        of: Everything that the cost depends on, as JSON.
        cost: The adaptation cost C(A, B).
    """
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    values = {"key": key, "of": dict(of), "cost": cost}
    session.execute(dialect.insert(AdaptationCostRow).values(values).on_conflict_do_nothing())
