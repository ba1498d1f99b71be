"""What lies behind the AP of a detector: classes, errors, detections on sample images."""

from dataclasses import asdict, replace
from pathlib import Path

import httpx

from detection.data.inspection import check_dataset
from detection.data.shapes import make_shapes
from searchd import artifacts
from searchd.messages.codecs import SAMPLE_PREDICTIONS
from searchd.messages.predictions import PredictedBox, PredictedImage, SamplePredictions
from searchd.store import Database
from searchd.store.models import DatasetRow
from tests.searchd.store.factories import (
    SMALL,
    base_proposal,
    run_trial,
    start_search,
    succeeded,
    with_breakdown,
)


def test_a_detector_has_its_ap_by_class_and_by_kind_of_error(
    http: httpx.Client, database: Database
) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal(), with_breakdown(succeeded("base")))

    small, large = http.get(f"/detectors/{search.id}-base").json()["breakdowns"]

    assert (small["resolution"], large["resolution"]) == ("64x64", "96x96")
    assert large["class_aps"] == {"circle": 0.75, "square": 0.25}
    assert large["errors"]["missed"] == {"count": 3, "lost_ap": 0.02}
    assert large["num_error_images"] == 40


def test_a_detector_of_an_earlier_version_has_none(http: httpx.Client, database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())

    assert http.get(f"/detectors/{search.id}-base").json()["breakdowns"] == []
    answer = http.get(f"/detectors/{search.id}-base/predictions")
    assert answer.status_code == 404
    assert "stored no detections on sample images" in answer.json()["detail"]


def test_detections_stand_beside_the_objects_of_a_sample_image(
    http: httpx.Client, database: Database, tmp_path: Path
) -> None:
    spec = make_shapes(tmp_path / "data", num_train=2, num_validation=3, image_size=64)
    samples = [asdict(each) for each in check_dataset(spec).samples]
    path = next(each["path"] for each in samples if each["split"] == "validation")
    box = PredictedBox(class_name="circle", score=0.75, bbox=(1, 2, 3, 4))
    found = SamplePredictions(
        resolution=SMALL,
        images=(
            PredictedImage(path=path, boxes=(box,)),
            PredictedImage(path="/gone.png", boxes=()),
        ),
    )
    search, lease = start_search(database)
    with database.write() as session:
        row = session.get_one(DatasetRow, session.get_one(type(search), search.id).dataset_id)
        row.samples = {"samples": samples}
    stored = artifacts.write(
        str(tmp_path / "predictions.json"),
        SAMPLE_PREDICTIONS.dump_json(found),
        name="predictions",
    )
    report = replace(succeeded("base"), artifacts=(stored,))
    run_trial(database, lease, base_proposal(), report)

    shown = http.get(f"/detectors/{search.id}-base/predictions").json()

    (image,) = shown["images"]
    assert shown["resolution"] == "64x64"
    assert image["detections"] == [{"class_name": "circle", "score": 0.75, "bbox": [1, 2, 3, 4]}]
    assert image["sample"] == 2
    assert len(image["objects"]) == samples[2]["num_objects"]
    address = f"/datasets/{shown['dataset_id']}/samples/{image['sample']}/image"
    plain = http.get(address, params={"boxes": False})
    assert plain.headers["content-type"] == "image/jpeg"
    assert plain.content != http.get(address).content
