"""Event files of TensorBoard, written and read for real."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event

from searchd.driver.sinks.base import RunFacts
from searchd.driver.sinks.tensorboard_sink import TensorboardSink
from searchd.settings import Settings
from searchd.store.models import TrialRow
from tests.searchd.store import factories


def values(folder: Path) -> Iterator[tuple[str, int, Any]]:
    """Tag, step and value of everything in the event files of a folder."""
    for file in sorted(folder.glob("events.out.tfevents.*")):
        data = file.read_bytes()
        while data:  # each record: its length, a checksum, the event, a checksum
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for each in event.summary.value:
                text = b"".join(each.tensor.string_val).decode()
                yield each.tag, event.step, text or round(each.simple_value, 6)


def test_losses_results_and_addresses_of_files_are_in_the_folder_of_the_trial(
    facts: RunFacts, ended: TrialRow, sink_settings: Settings, tmp_path: Path
) -> None:
    sink = TensorboardSink(facts, sink_settings)
    sink.progress(factories.progress("base"))
    sink.ended(ended)
    sink.progress(factories.progress("0"))
    sink.close()

    root = tmp_path / "sinks" / "tensorboard" / f"first-{facts.id}"
    written = list(values(root / "base"))
    assert ("live/loss", 25, 0.75) in written
    assert [each for each in written if each[0] == "epoch/loss"] == [
        ("epoch/loss", 1, 1.5),
        ("epoch/loss", 2, 0.75),
    ]
    assert ("result/ap/96x96", 0, 0.5) in written
    texts = {tag: value for tag, _, value in written if isinstance(value, str)}
    assert "| role | base |" in texts["trial/text_summary"]
    assert "student.safetensors" in texts["files/text_summary"]
    assert [tag for tag, _, _ in values(root / "0")] == ["live/loss"]
