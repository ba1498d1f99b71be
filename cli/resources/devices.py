"""`searchd device`: register the machines whose latency searches count as cost."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api.client import Client
from api.schemas.devices import Device
from cli.errors import fail
from cli.output import Format, FormatOption, show_one
from cli.resources.lifecycle import add_archiving
from cli.resources.listing import add_list
from cli.service import URL, KeyOption, UrlOption, ValidateOnlyOption, parse_spec
from cli.spec_files import read_source
from cli.spec_places import placing
from cli.validation import validate
from searchd.domain.detector import Family
from searchd.domain.devices import RuntimeName
from searchd.domain.export_formats import Precision
from searchd.domain.lifecycle import DeviceStatus
from searchd.messages.devices import CheckedPrediction
from searchd.spec import DeviceSpec

app = typer.Typer(
    no_args_is_help=True,
    help="Devices: machines whose latency searches count as cost, with their lookup tables.",
)

DeviceArgument = Annotated[str, typer.Argument(help="Name or id of the device.")]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        exists=True,
        dir_okay=False,
        help="YAML or JSON file with further fields of the device's spec. Options replace them.",
    ),
]
RuntimeOption = Annotated[
    RuntimeName | None,
    typer.Option(
        "--runtime", help="Program that runs the exported detectors. Default: onnxruntime."
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        "--precision",
        help="Numbers that detectors compute with: fp32, or int8 in onnxruntime and openvino. "
        "Default: fp32.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", help="Number of threads of the runtime, and CPUs reserved. Default: 1."
    ),
]
BatchOption = Annotated[
    int | None,
    typer.Option("--batch", help="Number of images that are detected at once. Default: 1."),
]
GpuOption = Annotated[
    bool, typer.Option("--gpu", help="Use the GPU of the machine. Default: the CPU.")
]
ResourceOption = Annotated[
    str | None,
    typer.Option(
        "--resource",
        help="Custom Ray resource that only the node to be measured offers. Default: the machine "
        "of Ray's head node, on which `searchd up` runs.",
    ),
]
FamilyOption = Annotated[
    list[Family] | None,
    typer.Option(
        "--family",
        help="Family of detectors to measure; repeat for several. Default: faster_rcnn, "
        "cascade_rcnn, retinanet and fcos.",
    ),
]
BackboneOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        help="Backbone of the measured detectors; repeat for several. Default: resnet18, resnet50.",
    ),
]
ChannelsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--base-channels",
        help="Width of the first convolution of the measured detectors; repeat for several. "
        "Default: 8, 16 and 32.",
    ),
]
ClassesOption = Annotated[
    list[int] | None,
    typer.Option(
        "--num-classes",
        help="Number of classes of the measured detectors; repeat for several. "
        "Default: 4, 20 and 80.",
    ),
]
ResolutionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--resolution",
        help='Input resolution "WxH" in pixels to measure; repeat for several. Default: 320x320 '
        "and 640x480.",
    ),
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the new device, for example jetson-1.")],
    file: FileOption = None,
    runtime: RuntimeOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    batch: BatchOption = None,
    gpu: GpuOption = False,
    resource: ResourceOption = None,
    family: FamilyOption = None,
    backbone: BackboneOption = None,
    base_channels: ChannelsOption = None,
    num_classes: ClassesOption = None,
    resolution: ResolutionOption = None,
    wait: Annotated[bool, typer.Option(help="Whether to wait until it is measured.")] = True,
    validate_only: ValidateOnlyOption = False,
    key: KeyOption = None,
    url: UrlOption = URL,
    output: FormatOption = Format.TABLE,
) -> None:
    """Register a device and measure its lookup table, which predicts latencies there.

    It measures single layers, then whole detectors through the graph that is exported, and prints
    how far the predictions are off for detectors that were not used. Keep the machine quiet: it
    takes minutes, on a slow machine or with large images an hour.
    """
    source = None if file is None else read_source(file)
    fields = {} if source is None else {**source.fields}
    table = {
        "families": family,
        "backbones": backbone,
        "base_channels": base_channels,
        "num_classes": num_classes,
        "resolutions": resolution,
    }
    given = {name: value for name, value in table.items() if value}
    own = {"runtime": runtime, "precision": precision, "threads": threads, "batch": batch}
    fields |= {name: value for name, value in own.items() if value is not None}
    fields |= {"name": name, "table": (fields.get("table") or {}) | given}
    fields |= ({"gpu": True} if gpu else {}) | ({"resource": resource} if resource else {})
    spec = parse_spec(fields, DeviceSpec, source)
    if validate_only:
        validate(spec, "device", url, source)
        return
    with Client(url) as client:
        with placing(source):
            found = client.create_device(spec, key=key)
        _show(_waited(client, found) if wait else found, output)


add_list(
    app,
    Client.list_devices,
    {
        "NAME": lambda d: d.name,
        "ID": lambda d: d.id,
        "STATUS": lambda d: d.status,
        "RUNTIME": lambda d: d.spec.runtime,
        "THREADS": lambda d: d.spec.threads,
        "BATCH": lambda d: d.spec.batch,
        "HARDWARE": lambda d: d.hardware,
        "ERROR %": lambda d: _percent(d.median_error),
        "REASON": lambda d: d.status_reason,
    },
    DeviceStatus,
    "List devices, newest first, with the errors of their predictions.",
)


@app.command()
def show(device: DeviceArgument, url: UrlOption = URL, output: FormatOption = Format.TABLE) -> None:
    """Show a device: hardware, software, and predictions beside measurements."""
    with Client(url) as client:
        _show(client.get_device(device), output)


@app.command()
def delete(device: DeviceArgument, url: UrlOption = URL) -> None:
    """Delete a device that no search or distillation names."""
    with Client(url) as client:
        client.delete_device(device)
    typer.echo(f"deleted device {device}")


add_archiving(app, "device", "devices")


def _waited(client: Client, device: Device) -> Device:
    """Wait until a device was measured, and show on stderr what it does.

    Raises:
        typer.Exit: The measurement failed.
    """
    started = time.monotonic()
    with Console(stderr=True).status("") as shown:

        def update(found: Device) -> None:
            seconds = time.monotonic() - started
            shown.update(f"{found.name}: {found.status_reason} ({seconds:.0f} s)")

        ended = client.wait_for_device(device.id, show=update)
    if ended.status is not DeviceStatus.READY:
        raise fail(f"device {ended.name} is {ended.status}: {ended.status_reason}")
    return ended


def _show(device: Device, output: Format) -> None:
    spec = device.spec
    rows: dict[str, object] = {
        "name": device.name,
        "id": device.id,
        "status": device.status,
        "reason": device.status_reason,
        "hardware": device.hardware,
        "software": device.software,
        "host": device.host,
        "runtime": f"{spec.runtime}, {spec.precision}, {spec.threads} threads, batch {spec.batch}"
        + (", GPU" if spec.gpu else ""),
        "node": spec.resource or "Ray's head node",
        "channels": f"multiples of {device.round_to}" if device.round_to > 1 else "any number",
        "families": ", ".join(spec.table.families),
        "layers": device.num_layers,
        "median error": device.median_error and f"{_percent(device.median_error)} %",
        "largest error": device.largest_error and f"{_percent(device.largest_error)} %",
    }
    rows |= {
        f"check {number}": _checked(each) for number, each in enumerate(device.checked, start=1)
    }
    show_one(device, rows, output)


def _checked(each: CheckedPrediction) -> str:
    measured = each.measured
    noisy = "" if measured.quiet else ", not quiet"
    return (
        f"{each.family} at {each.resolution}: {1000 * each.predicted_s:.2f} ms predicted, "
        f"{1000 * measured.median_s:.2f} ms measured (95 % below {1000 * measured.p95_s:.2f} ms"
        f"{noisy}), {100 * each.error:+.1f} %"
    )


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f}"
