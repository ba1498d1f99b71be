"""The calls about logs of trials and about webhooks."""

from collections.abc import AsyncIterator

from api.client.asynchronous.items import AsyncItems
from api.client.asynchronous.transport import AsyncTransport
from api.client.protocol import RunKind
from api.schemas.trial_logs import LogLine, TrialLogPage
from api.schemas.webhooks import CreatedWebhook, Delivery, Webhook
from searchd.spec.webhooks import WebhookSpec


class AsyncObservabilityCalls(AsyncTransport):
    """Part of the client; see `AsyncClient`."""

    async def trial_log(
        self,
        run: str,
        trial: str,
        *,
        kind: RunKind = "searches",
        attempt: int | None = None,
        tail: int | None = None,
        after: int = 0,
    ) -> AsyncIterator[LogLine]:
        """Iterate over what the worker of a trial has logged, oldest line first.

        Args:
            run: Name or id of the search or distillation.
            trial: Name of the trial, such as "12".
            kind: Which of both the run is.
            attempt: Number of the attempt. None: the latest.
            tail: Number of lines from the end. None: all.
            after: Number of the line to start after.
        """
        given = {"attempt": attempt, "tail": tail, "page_token": after or None}
        params = {name: str(value) for name, value in given.items() if value is not None}
        path = f"/{kind}/{run}/trials/{trial}/log"
        while True:
            page = await self._get(path, TrialLogPage, params)
            for line in page.items:
                yield line
            if page.next_page_token is None:
                return
            params = params | {"page_token": page.next_page_token}
            params.pop("tail", None)

    async def create_webhook(self, spec: WebhookSpec) -> CreatedWebhook:
        """Create a webhook. The result has its secret, this once."""
        body = spec.model_dump(mode="json")
        return await self._post("/webhooks", CreatedWebhook, json=body)

    async def list_webhooks(self) -> list[Webhook]:
        """Return all webhooks, oldest first."""
        found = (await self._call("GET", "/webhooks")).json()
        return [Webhook.model_validate(each) for each in found]

    def webhook_deliveries(self, webhook: str) -> AsyncItems[Delivery]:
        """Iterate over the deliveries of a webhook, newest first."""
        return self._list(f"/webhooks/{webhook}/deliveries", Delivery, {})

    async def test_webhook(self, webhook: str) -> Delivery:
        """Queue a test message for a webhook."""
        return await self._post(f"/webhooks/{webhook}/test", Delivery)

    async def delete_webhook(self, webhook: str) -> None:
        """Delete a webhook with the list of its deliveries."""
        await self._call("DELETE", f"/webhooks/{webhook}")
