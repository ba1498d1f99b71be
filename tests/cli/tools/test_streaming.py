"""`searchd analyse streaming`: stored detectors on sequences of a registered data set."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from sqlalchemy import update

from detection.build import build_detector
from detection.data.shapes import make_shapes
from searchd import artifacts
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.trial import Artifact
from searchd.messages.devices import DeviceLatency
from searchd.spec import DatasetSpec, ScoreSpec
from searchd.store import Database
from searchd.store.models import RunRow
from searchd.store.resources import datasets, searches
from searchd.store.runs import trials
from searchd.store.work import queue
from tests.cli.conftest import Run
from tests.searchd.store.device_factory import add_device
from tests.searchd.store.factories import (
    SMALL,
    add_pool,
    base_proposal,
    evaluation,
    leased,
    run_trial,
    search_spec,
    succeeded,
)

pytestmark = pytest.mark.timeout(60)  # real detectors are run

STUDENT = Detector(
    architecture=preset("resnet18", base_channels=8),
    num_classes=4,
    neck_channels=16,
    head_channels=32,
    anchor_scale=4,
    finest_roi_scale=14,
    num_proposals=50,
)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    torch.manual_seed(0)
    model = build_detector(STUDENT)
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight)  # or nothing is found
    folder = tmp_path_factory.mktemp("stored")
    return artifacts.write(str(folder / "student"), save(model.state_dict()), name="student")


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetSpec:
    """Whose validation images are two sequences of three frames; the training images are none."""
    spec = make_shapes(tmp_path / "shapes", num_train=2, num_validation=6, image_size=64)
    file = spec.validation.annotations
    document = json.loads(file.read_bytes())
    for number, image in enumerate(document["images"]):
        image |= {"video_id": number // 3, "frame_id": number % 3}
    file.write_text(json.dumps(document))
    return spec


@pytest.fixture
def trial(database: Database, dataset: DatasetSpec, student: Artifact) -> str:
    """Id of the base of a search, which took 20 ms and on device laptop 50 ms."""
    with database.write() as session:
        row = datasets.create(session, dataset)
    with leased(database, f"dataset_check-{row.id}") as (session, lease):
        datasets.record_ready(session, lease, {"class_names": ["a", "b", "c", "d"]})
    add_pool(database)
    with database.write() as session:
        search = searches.create(session, search_spec())
    with leased(database, f"search-{search.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        queue.advance(session, lease, SearchStatus.RUNNING, "base trained")
    report = replace(
        succeeded("base"),
        detector=STUDENT,
        evaluations=(evaluation(SMALL, 0.25),),
        artifacts=(student,),
    )
    found = run_trial(database, lease, base_proposal(), report)
    with database.write() as session:
        (at,) = trials.get(session, found.id).evaluations
        measured = DeviceLatency(median_s=0.05, p95_s=0.06, quiet=True)
        trials.record_device_latencies(session, lease, {at.id: measured})
    return f"{search.id}-base"


def on_device(database: Database, **changes: Any) -> None:
    """Let the search count latency on device laptop."""
    add_device(database)
    score = ScoreSpec.model_validate({"cost": "latency", "device": "laptop"})
    with database.write() as session:
        session.execute(update(RunRow).values(spec=search_spec(score=score, **changes)))


def streamed(searchd: Run, *arguments: object) -> Mapping[str, Any]:
    shown = searchd("analyse", "streaming", *arguments, "--format", "json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    (detector,) = found.pop("detectors")
    return {**found, **detector}


def test_without_latency_streaming_ap_is_plain_ap(searchd: Run, trial: str) -> None:
    found = streamed(searchd, trial, "--latency", "0")

    assert (found["trial"], found["resolution"], found["latency_s"]) == (trial, "64x64", 0)
    assert (found["split"], found["fps"]) == ("validation", 30)
    result = found["result"]
    assert result["streaming"] == result["offline"]
    assert result["offline"]["ar100"] > 0
    assert (result["num_frames"], result["num_taken"], result["mean_age"]) == (6, 6, 0)


def test_latency_is_that_of_the_trial_unless_given(searchd: Run, trial: str) -> None:
    # 20 ms are 0.6 frames at 30, and 1.2 frames at 60 frames a second.
    slow, fast = streamed(searchd, trial), streamed(searchd, trial, "--fps", "60")

    assert (slow["latency_s"], fast["latency_s"]) == (0.02, 0.02)
    assert [each["result"]["num_without_output"] for each in (slow, fast)] == [2, 4]
    assert [each["result"]["num_taken"] for each in (slow, fast)] == [6, 6]
    assert [each["result"]["mean_age"] for each in (slow, fast)] == [1, 2]


def test_a_front_is_measured_at_its_resolutions_and_shown_as_a_table(
    searchd: Run, trial: str
) -> None:
    shown = searchd("analyse", "streaming", "--front", "first", "--latency", "100")

    assert shown.exit_code == 0, shown.output
    header, row = shown.stdout.splitlines()
    assert header.split("  ")[0] == "TRIAL"
    cells = row.split()
    # After 3 frames the sequences are over, and the detector took 1 of 3.
    assert (cells[:5], cells[-2:]) == ([trial, "64x64", "100.0", "0.0", "0.0"], ["33.3", "-"])


def test_latency_on_the_device_of_the_search(searchd: Run, trial: str, database: Database) -> None:
    without = searchd("analyse", "streaming", trial, "--latency", "device")
    assert without.exit_code == 1
    assert "has no latency on a device: first does not count latency as cost" in without.stderr

    on_device(database)

    assert streamed(searchd, trial, "--latency", "device")["latency_s"] == 0.05


def test_latency_that_is_measured_here_is_drawn_by_seed(searchd: Run, trial: str) -> None:
    found = streamed(searchd, trial, "--latency", "here", "--seed", "3")

    assert 0 < found["latency_s"] < 10


def test_what_cannot_be_streamed_is_refused(searchd: Run, trial: str, dataset: DatasetSpec) -> None:
    def refused(*arguments: object) -> tuple[int, str]:
        result = searchd("analyse", "streaming", *arguments)
        return result.exit_code, " ".join(result.stderr.split())

    code, reason = refused(trial, "--latency", "fast")
    assert (code, "--latency fast is none of trial, device, here" in reason) == (2, True)
    code, reason = refused(trial, "--split", "test")
    assert (code, "has no test split; it has train, validation" in reason) == (1, True)
    code, reason = refused(trial, "--fps", "0")
    assert (code, "fps=0.0 must be above 0" in reason) == (2, True)
    code, reason = refused()
    assert (code, "give trials, or --front SEARCH" in reason) == (2, True)
    file = dataset.validation.annotations
    file.write_text(file.read_text().replace('"video_id"', '"clip"'))
    code, reason = refused(trial)
    assert (code, "6 of 6 images are in no sequence" in reason) == (1, True)
