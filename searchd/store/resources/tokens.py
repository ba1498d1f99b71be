"""Tokens: created, verified, revoked.

A secret has 256 random bits, so it cannot be found by brute force. A plain SHA-256 therefore
protects it as well as a slow password hash, for which every request would have to wait.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError, InvalidValueError, NotFoundError
from searchd.spec import NAME_PATTERN
from searchd.store.base import now
from searchd.store.models import Role, TokenRow

USE_PRECISION = timedelta(minutes=10)
"""Accuracy of `last_used_at`: the minimum time between two writes of it."""
_PREFIX = "searchd_"
"""Prefix of every secret, by which secret scanners can detect one in the wrong place."""
_SECRET_BYTES = 32


def create(session: Session, name: str, role: Role) -> str:
    """Create a token.

    Returns:
        The secret. It is not stored and cannot be shown again.

    Raises:
        InvalidValueError: The name is illegal.
        ConflictError: The name is taken, possibly by a revoked token.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidValueError(
            f"name={name!r} must consist of up to 63 lower-case letters, digits, - and _"
        )
    secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    try:
        with session.begin_nested():
            session.execute(insert(TokenRow).values(name=name, role=role, sha256=_digest(secret)))
    except IntegrityError as error:
        raise ConflictError(
            f"there is, or was, a token {name!r}; names are never reused, choose another"
        ) from error
    return secret


def recognise(session: Session, secret: str) -> TokenRow | None:
    """Return the token with this secret; None if there is none or it was revoked."""
    return session.scalar(
        select(TokenRow).where(TokenRow.sha256 == _digest(secret), TokenRow.revoked_at.is_(None))
    )


def use_is_news(token: TokenRow, at: datetime) -> bool:
    """Return whether a use at this time is to be recorded by `record_use`."""
    return token.last_used_at is None or at - token.last_used_at >= USE_PRECISION


def record_use(session: Session, name: str, at: datetime) -> None:
    """Record a use of the token."""
    session.execute(update(TokenRow).where(TokenRow.name == name).values(last_used_at=at))


def revoke(session: Session, name: str) -> TokenRow:
    """Revoke the token: it is refused from now on. Idempotent.

    Raises:
        NotFoundError: No token has this name.
    """
    token = session.get(TokenRow, name)
    if token is None:
        raise NotFoundError(f"token {name!r} does not exist")
    token.revoked_at = token.revoked_at or now()
    return token


def every(session: Session) -> Sequence[TokenRow]:
    """Return all tokens, including revoked ones, by name."""
    return session.scalars(select(TokenRow).order_by(TokenRow.name)).all()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
