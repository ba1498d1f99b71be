"""Devices that tests of the store, the driver, the API and the CLI start from."""

from dataclasses import replace
from typing import Any

from searchd.domain.latency_table import ANY_KIND, LatencyTable, Layer, MeasuredLayer
from searchd.domain.resolution import Resolution
from searchd.messages.devices import CheckedPrediction, DeviceLatency, DeviceReport
from searchd.spec import DeviceSpec
from searchd.store import Database
from searchd.store.resources import devices
from tests.searchd.store.factories import leased


def device_spec(name: str = "laptop", **changes: Any) -> DeviceSpec:
    return DeviceSpec.model_validate({"name": name, **changes})


def device_report(**changes: Any) -> DeviceReport:
    """Of a device that was measured with Faster R-CNN alone, one layer and one check."""
    layer = Layer(inputs=8, outputs=8, height=8, width=8)
    checked = CheckedPrediction(
        family="faster_rcnn",
        encoding="[(8, 8)], [(8, 8)], [(8, 8)], [(8, 8)]",
        resolution=Resolution(96, 96),
        predicted_s=0.0103,
        measured=DeviceLatency(median_s=0.01, p95_s=0.011, quiet=True),
    )
    given = DeviceReport(
        hardware="Test CPU",
        software="onnxruntime 1.32",
        host="here",
        table=LatencyTable(
            layers=(MeasuredLayer(layer=layer, seconds=1e-4),),
            lines={ANY_KIND: (0.0, 0.0, 1e-7)},
            factors={"layers": 1.0, "faster_rcnn": 0.002, "faster_rcnn pixels": 0.0},
        ),
        median_error=0.03,
        largest_error=0.03,
        checked=(checked,),
        num_measured=2,
        num_noisy=0,
    )
    return replace(given, **changes)


def add_device(database: Database, name: str = "laptop", **changes: Any) -> str:
    """Register a device and record that it was measured; return its id."""
    with database.write() as session:
        device_id = devices.create(session, device_spec(name)).id
    with leased(database, f"device-{device_id}") as (session, lease):
        devices.record_report(session, lease, device_report(**changes))
    return device_id
