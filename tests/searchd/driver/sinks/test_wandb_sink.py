"""Offline runs of Weights & Biases, written by its own library; nothing is sent."""

from pathlib import Path

import pytest

from searchd.driver.sinks.base import RunFacts
from searchd.driver.sinks.wandb_sink import WandbSink
from searchd.settings import Settings
from searchd.store.models import TrialRow

pytest.importorskip("wandb", reason="the extra wandb is not installed")

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("default")]


def test_a_trial_is_a_run_that_can_be_uploaded_later(
    facts: RunFacts, ended: TrialRow, sink_settings: Settings, tmp_path: Path
) -> None:
    sink = WandbSink(facts, sink_settings)
    sink.ended(ended)
    sink.close()

    (folder,) = (tmp_path / "sinks" / "wandb" / "wandb").glob(f"offline-run-*-{facts.id}-base-1")
    (file,) = folder.glob("run-*.wandb")
    content = file.read_bytes()
    for text in (b"epoch/loss", b"ap/96x96", b"first base", b"student.safetensors"):
        assert text in content, text
