"""A search of Mask R-CNNs ranks by mask AP, and its best detector is exported with its masks: real
service, real Ray, real detectors."""

import json
from pathlib import Path

import pytest
from pycocotools import mask as coco_masks
from typer.testing import CliRunner

from api.client import Client
from cli.main import app
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.resolution import Resolution
from searchd.spec import SearchSpec
from tests.e2e.specs import HEAD, ONE_AT_A_TIME, SEARCH

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MASKS = {
    **SEARCH,
    "name": "masks",
    "head": {**HEAD, "family": "mask_rcnn", "neck_channels": 16, "mask_channels": 16},
    "score": {"base_resolution": "64x64", "accuracy": "mask_ap"},
    "budget": {"max_trials": 2, "finish": None},
    "control": False,
    "resources": ONE_AT_A_TIME,
}


@pytest.fixture(scope="module")
def masks(client: Client) -> str:
    """The id of a search of masks that ran to its end."""
    submitted = client.submit_search(SearchSpec.model_validate(MASKS))
    ended = client.wait_for_search(submitted.id, poll_s=0.2)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    return ended.id


def test_a_search_of_masks_ranks_and_reports_mask_ap(client: Client, masks: str) -> None:
    base = client.get_trial(f"{masks}-base")

    at = next(each for each in base.evaluations if each.resolution == Resolution(64, 64))
    assert at.score == pytest.approx(at.mask_ap or 0.0)
    assert client.pareto(masks).y == "mask_ap"
    report = client.report(masks)
    assert report.accuracy == "mask_ap"
    assert all(each.measured.accuracy == "mask_ap" for each in report.detectors if each.measured)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
def test_its_best_detector_is_exported_with_masks(
    client: Client, masks: str, tmp_path: Path
) -> None:
    run = CliRunner(env={"SEARCHD_URL": client.url}).invoke
    trial = client.get_search(masks).best_trial_id
    assert trial is not None
    images = client.get_dataset("shapes").spec.validation.images
    out, drawn = tmp_path / "export", tmp_path / "drawn"

    exported = run(
        app, ["detector", "export", trial, "--input", "64x64", "--out", str(out), "--output=json"]
    )
    predicted = run(
        app,
        ["detector", "predict", str(out), str(images), "--out", str(drawn), "--score", "0.05"],
    )

    assert exported.exit_code == 0, exported.stderr
    measured = json.loads(exported.stdout)["measurement"]
    assert measured["mask_ap"] == pytest.approx(measured["torch_mask_ap"], abs=0.001)
    assert predicted.exit_code == 0, predicted.stderr
    for each in json.loads((drawn / "detections.json").read_text()):
        assert coco_masks.decode(each["segmentation"]).shape == (64, 64)
