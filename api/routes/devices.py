"""The endpoints of devices, whose latency searches may count as cost."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from api.auth import CallerDep, check_owner
from api.dependencies import (
    STATUS_HELP,
    VALIDATED,
    ChecksDep,
    DatabaseDep,
    DeviceReference,
    IdempotencyKey,
    ListingDep,
    ValidateOnly,
    created,
)
from api.routes.archiving import add_archiving
from api.schemas import Page
from api.schemas.devices import Device
from api.views.devices import device as view
from searchd.domain.lifecycle import DeviceStatus
from searchd.spec import DeviceSpec
from searchd.store import paging
from searchd.store.models import DeviceRow
from searchd.store.resources import devices

router = APIRouter(prefix="/devices", tags=["devices"])


@router.post("", response_model=Device, status_code=status.HTTP_201_CREATED, responses=VALIDATED)
def create_device(
    spec: DeviceSpec,
    database: DatabaseDep,
    caller: CallerDep,
    checks: ChecksDep,
    idempotency_key: IdempotencyKey = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Register a device. Its lookup table is measured in the background, on the device."""
    warnings = checks.check(spec)
    with database.write() as session:
        row = devices.create(session, spec, idempotency_key=idempotency_key, owner=caller.name)
        resource = view(row)
        if validate_only:
            session.rollback()
    return created(resource, f"/devices/{resource.id}", validate_only, warnings)


@router.get("")
def list_devices(
    database: DatabaseDep,
    listing: ListingDep,
    status: Annotated[tuple[DeviceStatus, ...], Query(description=STATUS_HELP)] = (),
) -> Page[Device]:
    """List devices with the errors of their predictions, by default newest first."""
    with database.read() as session:
        page = paging.page(session, DeviceRow, listing, status)
    return Page(items=[view(row) for row in page.items], next_page_token=page.next_page_token)


@router.get("/{device}")
def get_device(device: DeviceReference, database: DatabaseDep) -> Device:
    """Return a device by id or name, with what was measured and how well it predicts."""
    with database.read() as session:
        return view(devices.get(session, device))


@router.delete(
    "/{device}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    responses={204: {"description": "The device was deleted."}},
)
def delete_device(device: DeviceReference, database: DatabaseDep, caller: CallerDep) -> Response:
    """Delete a device that no search or distillation names, and that is not being measured."""
    with database.write() as session:
        row = devices.get(session, device)
        check_owner(caller, row)
        devices.delete(session, row)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


add_archiving(router, "device", devices.get)
