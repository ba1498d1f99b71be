"""A found detector is exported by the command line: real service, real Ray, real detector."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from api.client import Client
from cli.main import app

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_a_found_detector_is_exported_and_runs_alone(
    client: Client, search: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["detector", "export", f"{search}-0", "--out", str(out), "--output", "json"]

    result = CliRunner(env={"SEARCHD_URL": client.url}).invoke(app, arguments)

    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    measured = shown["measurement"]
    assert measured["num_compared"] == 32
    assert measured["ap"] == pytest.approx(measured["torch_ap"], abs=0.001)
    (at_its_best,) = [
        each
        for each in client.get_trial(f"{search}-0").evaluations
        if str(each.resolution) == measured["resolution"]
    ]
    assert measured["ap"] == pytest.approx(at_its_best.ap, abs=0.001)
    assert sorted(path.name for path in out.iterdir()) == [
        *("README.md", "card.json", "model.onnx", "predict.py", "sample.jpg"),
    ]
    session = onnxruntime.InferenceSession(out / "model.onnx")
    boxes, scores, labels = session.run(None, {"images": np.zeros((1, 3, 50, 70), np.float32)})
    assert boxes.shape[:2] == scores.shape == labels.shape
    images = client.get_dataset("shapes").spec.validation.images
    image = sorted(images.iterdir())[0]
    drawn = tmp_path / "drawn.png"
    subprocess.run([sys.executable, "-I", out / "predict.py", image, drawn], check=True)
    assert drawn.stat().st_size > 0
    card = json.loads((out / "card.json").read_text())
    assert len(card["lineage"]) == 2
    assert card["data set"] == "shapes"
    assert {"validation", "test"} == card["export aps"].keys()
    assert (tmp_path / "out" / card["sample"]).stat().st_size > 0
    arguments = ["detector", "evaluate", str(out), "--dataset", "shapes", "--split", "test"]
    evaluated = CliRunner(env={"SEARCHD_URL": client.url}).invoke(
        app, [*arguments, "--format=json"]
    )
    assert evaluated.exit_code == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["ap"] == pytest.approx(card["export aps"]["test"]["ap"])
