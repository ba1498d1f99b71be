"""Tokens, which give access to the API."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from searchd.store.base import Base, now, status_type
from searchd.store.models.resources import NAME_LENGTH


class Role(StrEnum):
    """What a token may do. Each role includes the previous ones.

    Attributes:
        READ: See everything.
        SUBMIT: Create resources, and change its own.
        ADMIN: Change the resources of all owners.
    """

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Return whether this role may do everything that `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class TokenRow(Base):
    """A token. Never deleted: its name stays the owner of what it created."""

    __tablename__ = "tokens"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    role: Mapped[Role] = mapped_column(status_type(Role))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the secret, in hexadecimal."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime | None]
    """Last use, accurate to `searchd.store.resources.tokens.USE_PRECISION`."""
    revoked_at: Mapped[datetime | None]
    """When it was revoked; None: it is valid."""
