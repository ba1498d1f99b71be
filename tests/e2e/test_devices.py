"""This machine is registered by the command line: real service, real Ray, real measurement."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.client import Client
from cli.main import app

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_this_machine_is_registered_and_predicts(client: Client, tmp_path: Path) -> None:
    # torch exports nothing, which would take most of the time; onnxruntime's part is measured in
    # tests/detection.
    options = ["--runtime", "torch", "--family", "faster_rcnn", "--backbone", "resnet18"]
    file = tmp_path / "device.yaml"
    file.write_text("table: {max_layers: 10, detectors: 2, held_out: 1}")
    sizes = ["--base-channels", "8", "--resolution", "64x64", "--file", str(file)]
    arguments = ["device", "add", "this-machine", *options, *sizes, "--format", "json"]

    result = CliRunner(env={"SEARCHD_URL": client.url}).invoke(app, arguments)

    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["status"] == "ready"
    assert found["num_layers"] == 10
    assert found["num_measured"] == 10 + 3
    assert [each["family"] for each in found["checked"]] == ["faster_rcnn"]
    assert found["software"].startswith("torch 2.")
    assert f"{100 * found['median_error']:.1f} % off" in found["status_reason"]
