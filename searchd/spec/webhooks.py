"""A webhook: where to tell what."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from searchd.domain.webhooks import WebhookEvent
from searchd.spec.base import Spec

ALL_EVENTS = tuple(WebhookEvent)


class WebhookSpec(Spec):
    """A webhook. Its receiver gets signed requests as Standard Webhooks describes them."""

    url: str = Field(max_length=2000)
    """Address that requests are sent to, http:// or https://, without user name and password."""
    events: tuple[WebhookEvent, ...] = Field(default=ALL_EVENTS, min_length=1)
    """What is told: ended, failed and incumbent. All of them by default."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_url()
        return self

    @property
    def host(self) -> str:
        """Name or address of the receiver."""
        return urlsplit(self.url).hostname or ""

    def _check_url(self) -> None:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"url={self.url!r} is not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError(f"url={self.url!r} must begin with http:// or https:// and a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url holds a user name or password; requests are signed instead")
        if not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            raise ValueError(f"url={self.url!r} must be ASCII without blanks; percent-encode it")
