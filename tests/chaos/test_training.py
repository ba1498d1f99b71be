"""Real detectors: an interrupted training resumes from its last epoch, and a trial whose parent's
weights are damaged continues from the parent's parent."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detection.data.shapes import make_shapes
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.settings import Settings
from searchd.spec import PoolSpec, SearchSpec
from searchd.store.models import TrialRow
from tests.chaos.recovery import recovered
from tests.chaos.site import Site, family, kill, running_site

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(600)]

REAL = ("trial_module", "adaptation_costs", "latency", "pool_training", "dataset_check")
"""Settings that name the workers' code."""
EPOCHS = 12
HEAD = {
    "head_channels": 32,
    "anchor_scale": 4,
    "finest_roi_scale": 16,
    "num_proposals": 50,
    "sampled_rois": 32,
}
TRAINING = {"batch_size": 4, "resolutions": ["64x64"], "warmup_iterations": 0}
POOL = {
    "name": "teachers",
    "dataset": "shapes",
    "space": {
        "depths": [[1, 2], [1], [1], [1]],
        "widths": [[1.0, 1.5]] * 4,
        "neck_channels": [16],
        "resolutions": ["64x64"],
        "base_channels": 8,
    },
    "head": HEAD,
    "phases": [
        {
            "name": "supernet",
            "min_depths": [2, 1, 1, 1],
            "min_width": 1.5,
            "learning_rate": 0.02,
            "epochs": 1,
            "distil": False,
        }
    ],
    "training": TRAINING,
    "bn_reset_images": 8,
    "evaluated_subnets": 1,
}
BASE: dict[str, Any] = {
    "base_channels": 8,
    "training": {**TRAINING, "epochs": EPOCHS, "learning_rate": 0.01},
}
SEARCH = {
    "name": "trained",
    "dataset": "shapes",
    "pool": "teachers",
    "base": BASE,
    "head": {**HEAD, "neck_channels": 16},
    "trial": {**TRAINING, "epochs": 1},
    "strategy": {"student_frozen_trials": 1, "min_channels": 2},
    "score": {"base_resolution": "64x64"},
    "budget": {"max_trials": 1, "finish": None},
    "control": False,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    fields = Settings.model_fields
    environment = {f"SEARCHD_{name.upper()}": fields[name].default for name in REAL}
    with running_site(tmp_path_factory.mktemp("chaos"), environment=environment) as site:
        data = tmp_path_factory.mktemp("data")
        site.client.create_dataset(make_shapes(data, num_train=28, num_validation=4, image_size=64))
        site.client.create_pool(PoolSpec.model_validate(POOL))
        site.client.wait_for_pool("teachers", poll_s=0.5)
        yield site


def test_training_resumes_from_its_last_epoch_when_worker_and_then_driver_are_killed(
    site: Site,
) -> None:
    search = site.client.submit_search(SearchSpec.model_validate(SEARCH)).id
    site.wait_until(lambda: _epoch(site, search, attempt=1) >= 3)

    (driver,) = site.drivers(search)
    kill(site.trial_workers())
    took_s = site.wait_until(lambda: _epoch(site, search, attempt=2) >= 1)
    recovered("SIGKILL of a worker with torch", "its trial trains again", took_s, bound_s=30)
    site.wait_until(lambda: _epoch(site, search, attempt=2) >= 7)
    kill(family(driver.pid))
    took_s = site.wait_until(lambda: _epoch(site, search, attempt=3) >= 1)
    recovered("SIGKILL of a driver with torch", "its trial trains again", took_s, bound_s=40)

    ended = site.client.wait_for_search(search, poll_s=0.5)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    # An attempt that was killed in epoch n had trained n - 1 epochs.
    after_worker, after_driver = _resumed_at(site)
    assert after_worker >= 3
    assert after_driver >= 7
    base = site.client.get_trial(f"{search}-base")
    assert (base.status, base.attempt) == (TrialStatus.SUCCEEDED, 3)
    assert [epoch.epoch for epoch in base.epochs] == list(range(1, EPOCHS + 1))


def test_trial_with_a_damaged_parent_continues_from_the_parents_parent_and_says_so(
    site: Site,
) -> None:
    base = {**BASE, "training": {**BASE["training"], "epochs": 1}}
    spec = SearchSpec.model_validate({**SEARCH, "name": "damaged", "base": base})
    search = site.client.submit_search(spec).id
    assert site.client.wait_for_search(search, poll_s=0.5).status is SearchStatus.SUCCEEDED
    before = site.finished(search)

    (weights,) = site.artifacts.glob(f"searches/{search}/0/*/student.safetensors")
    os.truncate(weights, weights.stat().st_size // 2)
    site.client.extend_search(search, max_trials=2)

    ended = site.client.wait_for_search(search, poll_s=0.5)
    assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
    assert site.finished(search)[: len(before)] == before
    child = site.client.get_trial(f"{search}-1")
    assert (child.status, child.attempt) == (TrialStatus.SUCCEEDED, 2)
    assert child.proposal.parent == "0"
    assert child.parent_id == f"{search}-base"
    said = [event.message for event in site.client.search_events(search)]
    damage = f"bad_checkpoint: ArtifactError: student is damaged: {weights}"
    assert [m for m in said if damage in m and "from the student of trial base" in m]


def _resumed_at(site: Site) -> list[int]:
    """Return the epochs at which attempts at a base resumed, according to the workers' logs."""
    logs: list[Path] = sorted(site.data_folder.glob("ray/session_latest/logs/worker-*.err"))
    found = [re.findall(r"trial base resumes at epoch (\d+)", log.read_text()) for log in logs]
    return sorted(int(epoch) for epochs in found for epoch in epochs)


def _epoch(site: Site, search: str, *, attempt: int) -> int:
    """Return the epoch that this attempt at the base trains; 0: it does not train."""
    rows: dict[str, TrialRow] = {row.name: row for row in site.trials(search)}
    base = rows.get("base")
    if base is None or base.attempt != attempt or base.progress is None:
        return 0
    return base.progress.epoch if base.progress.stage == "train" else 0
