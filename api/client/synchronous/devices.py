"""The calls about devices."""

from collections.abc import Callable
from time import sleep
from typing import Any

from api.client.synchronous.items import Items
from api.client.synchronous.transport import Transport
from api.schemas.devices import Device
from searchd.domain.transitions import is_final
from searchd.spec import DeviceSpec


class DeviceCalls(Transport):
    """Part of the client; see `Client`."""

    def create_device(self, spec: DeviceSpec, *, key: str | None = None) -> Device:
        """Register a device, which is measured in the background."""
        return self._create("/devices", spec, key, Device)

    def get_device(self, device: str) -> Device:
        """Return a device by id or name."""
        return self._get(f"/devices/{device}", Device)

    def list_devices(self, **filters: Any) -> Items[Device]:
        """Iterate over all devices, newest first, or over those with a `status`."""
        return self._list("/devices", Device, filters)

    def wait_for_device(
        self, device: str, *, poll_s: float = 1.0, show: Callable[[Device], None] = lambda _: None
    ) -> Device:
        """Wait until the measurement of a device has ended.

        Args:
            device: Its id or name.
            poll_s: Seconds between two calls.
            show: Called with the device after each call.
        """
        while not is_final((found := self.get_device(device)).status):
            show(found)
            sleep(poll_s)
        return found

    def delete_device(self, device: str) -> None:
        """Delete a device that nothing uses."""
        self._call("DELETE", f"/devices/{device}")
