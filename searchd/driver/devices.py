"""Work on a device: on the node of the cluster that offers its resource."""

from collections.abc import Callable
from typing import cast

import ray

from searchd.domain.errors import InvalidValueError
from searchd.spec import DeviceSpec

_HEAD = "node:__internal_head__"
"""The resource that Ray gives to its head node."""
_SHARE = 0.001
"""How much of the resource is reserved. It only selects the node."""


def placement(spec: DeviceSpec) -> dict[str, float]:
    """Return the resources that a remote function reserves to run on the device. Ray must be
    connected.

    Raises:
        InvalidValueError: No node of the cluster offers the resource of the device.
    """
    resource = spec.resource or _HEAD
    offered = cast(Callable[[], dict[str, float]], ray.cluster_resources)()
    if resource not in offered:
        raise InvalidValueError(
            f"no node of the cluster offers the resource {resource!r} of device {spec.name}; start "
            f"Ray there with: ray start --address=HEAD --resources='{{\"{resource}\": 1}}'"
        )
    return {resource: _SHARE}
