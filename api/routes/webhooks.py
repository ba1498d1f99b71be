"""The endpoints of webhooks."""

import socket

from fastapi import APIRouter, Response, status
from sqlalchemy.orm import Session

from api import schemas
from api.auth import Caller, CallerDep, check_owner
from api.dependencies import DatabaseDep, PageSize, PageToken, RulesDep, WebhookReference
from api.schemas.webhooks import CreatedWebhook, Delivery, Webhook
from searchd.domain.addresses import is_public, not_public
from searchd.domain.errors import ConflictError, InvalidValueError
from searchd.domain.webhooks import DeliveryStatus
from searchd.spec.webhooks import WebhookSpec
from searchd.store import webhooks
from searchd.store.models import DeliveryRow, WebhookRow

router = APIRouter(prefix="/webhooks", tags=["webhooks"])


@router.post("", status_code=status.HTTP_201_CREATED)
def create_webhook(
    spec: WebhookSpec, database: DatabaseDep, caller: CallerDep, rules: RulesDep
) -> CreatedWebhook:
    """Create a webhook, whose receiver is told what happens to all searches, distillations, pools,
    teachers, data sets and exports. The response has its secret, this once."""
    if not rules.private_webhooks:
        _check_address(spec)
    with database.write() as session:
        return CreatedWebhook.model_validate(webhooks.create(session, spec, owner=caller.name))


@router.get("")
def list_webhooks(database: DatabaseDep) -> list[Webhook]:
    """List all webhooks without their secrets, oldest first."""
    with database.read() as session:
        return [Webhook.model_validate(row) for row in webhooks.every(session)]


@router.get("/{webhook}/deliveries")
def list_deliveries(
    webhook: WebhookReference,
    database: DatabaseDep,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> schemas.Page[Delivery]:
    """List the deliveries of a webhook, newest first. Ended ones are listed for 30 days."""
    with database.read() as session:
        row = webhooks.get(session, webhook)
        page = webhooks.deliveries(session, row.id, page_size=page_size, page_token=page_token)
        items = [_delivery(each) for each in page.items]
    return schemas.Page(items=items, next_page_token=page.next_page_token)


@router.post("/{webhook}/test", status_code=status.HTTP_202_ACCEPTED)
def send_test(webhook: WebhookReference, database: DatabaseDep, caller: CallerDep) -> Delivery:
    """Send a message of type webhook.test to the receiver. The list of deliveries shows within
    seconds how it was answered."""
    with database.write() as session:
        row = _owned(session, webhook, caller)
        if row.disabled_at is not None:
            raise ConflictError(
                f"webhook {row.id} is disabled, since its receiver answered that it is gone; "
                "delete it and create another"
            )
        return _delivery(webhooks.queue(session, row, "webhook.test", {"webhook": row.id}))


@router.delete(
    "/{webhook}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    responses={204: {"description": "The webhook was deleted."}},
)
def delete_webhook(webhook: WebhookReference, database: DatabaseDep, caller: CallerDep) -> Response:
    """Delete a webhook with the list of its deliveries."""
    with database.write() as session:
        webhooks.remove(session, _owned(session, webhook, caller))
    return Response(status_code=status.HTTP_204_NO_CONTENT)


def _owned(session: Session, webhook: str, caller: Caller) -> WebhookRow:
    row = webhooks.get(session, webhook)
    check_owner(caller, row)
    return row


def _delivery(row: DeliveryRow) -> Delivery:
    found = Delivery.model_validate(row)
    if found.status is DeliveryStatus.PENDING:
        return found
    return found.model_copy(update={"next_attempt_at": None})


def _check_address(spec: WebhookSpec) -> None:
    """Check that the host of a webhook is public. It is checked again at every delivery.

    Raises:
        InvalidValueError: It is not, or it is unknown.
    """
    host = spec.host
    try:
        found = [str(each[-1][0]) for each in socket.getaddrinfo(host, None)]
    except (OSError, UnicodeError) as error:
        raise InvalidValueError(f"url={spec.url!r}: the host {host} is unknown: {error}") from error
    refused = [address for address in found if not is_public(address)]
    if refused:
        raise InvalidValueError(f"url={spec.url!r}: {not_public(host, refused[0])}")
