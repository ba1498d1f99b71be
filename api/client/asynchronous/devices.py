"""The calls about devices."""

from asyncio import sleep
from collections.abc import Callable
from typing import Any

from api.client.asynchronous.items import AsyncItems
from api.client.asynchronous.transport import AsyncTransport
from api.schemas.devices import Device
from searchd.domain.transitions import is_final
from searchd.spec import DeviceSpec


class AsyncDeviceCalls(AsyncTransport):
    """Part of the client; see `AsyncClient`."""

    async def create_device(self, spec: DeviceSpec, *, key: str | None = None) -> Device:
        """Register a device, which is measured in the background."""
        return await self._create("/devices", spec, key, Device)

    async def get_device(self, device: str) -> Device:
        """Return a device by id or name."""
        return await self._get(f"/devices/{device}", Device)

    def list_devices(self, **filters: Any) -> AsyncItems[Device]:
        """Iterate over all devices, newest first, or over those with a `status`."""
        return self._list("/devices", Device, filters)

    async def wait_for_device(
        self, device: str, *, poll_s: float = 1.0, show: Callable[[Device], None] = lambda _: None
    ) -> Device:
        """Wait until the measurement of a device has ended.

        Args:
            device: Its id or name.
            poll_s: Seconds between two calls.
            show: Called with the device after each call.
        """
        while not is_final((found := await self.get_device(device)).status):
            show(found)
            await sleep(poll_s)
        return found

    async def delete_device(self, device: str) -> None:
        """Delete a device that nothing uses."""
        await self._call("DELETE", f"/devices/{device}")
