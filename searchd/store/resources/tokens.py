"""Tokens: created, recognised, revoked.

A secret has 256 random bits, so nobody can guess or search for it, and a plain SHA-256 hides it as
well as a slow password hash would, which every request would have to wait for.
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
"""How exactly `last_used_at` is known: a use is written down at most so often."""
_MARK = "searchd_"
"""Starts every secret, so that one that was pasted into the wrong place is recognised as such."""
_SECRET_BYTES = 32


def create(session: Session, name: str, role: Role) -> str:
    """Create a token.

    Returns:
        Its secret, which is stored nowhere and cannot be shown again.

    Raises:
        InvalidValueError: The name is not legal.
        ConflictError: The name is taken, maybe by a revoked token.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidValueError(
            f"name={name!r} must be lower-case letters, digits, - and _, at most 63 in all"
        )
    secret = _MARK + secrets.token_urlsafe(_SECRET_BYTES)
    try:
        with session.begin_nested():
            session.execute(insert(TokenRow).values(name=name, role=role, sha256=_digest(secret)))
    except IntegrityError as error:
        raise ConflictError(
            f"there is, or was, a token {name!r}; names are never used again, choose another"
        ) from error
    return secret


def recognise(session: Session, secret: str) -> TokenRow | None:
    """The token that has this secret, unless it was revoked."""
    return session.scalar(
        select(TokenRow).where(TokenRow.sha256 == _digest(secret), TokenRow.revoked_at.is_(None))
    )


def use_is_news(token: TokenRow, at: datetime) -> bool:
    """Whether a use at this time is worth `record_use`."""
    return token.last_used_at is None or at - token.last_used_at >= USE_PRECISION


def record_use(session: Session, name: str, at: datetime) -> None:
    """Write down that the token was used."""
    session.execute(update(TokenRow).where(TokenRow.name == name).values(last_used_at=at))


def revoke(session: Session, name: str) -> TokenRow:
    """Refuse the token from now on. Doing it twice is the same as doing it once.

    Raises:
        NotFoundError: There is no token of this name.
    """
    token = session.get(TokenRow, name)
    if token is None:
        raise NotFoundError(f"token {name!r} does not exist")
    token.revoked_at = token.revoked_at or now()
    return token


def every(session: Session) -> Sequence[TokenRow]:
    """All tokens, the revoked ones too, by name."""
    return session.scalars(select(TokenRow).order_by(TokenRow.name)).all()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
