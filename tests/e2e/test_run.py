"""`searchd run` on a YOLO folder, as in docs/tutorial.md, with settings that take seconds."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from mmdet.apis import inference_detector, init_detector
from typer.testing import CliRunner, Result

from cli.main import app
from detection.data.shapes import make_shapes
from tests.e2e.conftest import Service
from tests.e2e.specs import POOL, SEARCH

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def write_yolo(folder: Path) -> None:
    """Draw the data set `shapes` and store it as Ultralytics' tools do."""
    coco = make_shapes(folder / "coco", num_train=28, num_validation=8, image_size=64)
    for split, source in (("train", coco.train), ("val", coco.validation)):
        document = json.loads(source.annotations.read_text())
        shutil.copytree(source.images, folder / "images" / split)
        labels = folder / "labels" / split
        labels.mkdir(parents=True)
        ids = [category["id"] for category in document["categories"]]
        for image in document["images"]:
            lines = []
            for each in document["annotations"]:
                if each["image_id"] == image["id"]:
                    x, y, width, height = (side / 64 for side in each["bbox"])
                    label = ids.index(each["category_id"])
                    lines.append(f"{label} {x + width / 2} {y + height / 2} {width} {height}")
            (labels / image["file_name"]).with_suffix(".txt").write_text("\n".join(lines))
    names = {label: each["name"] for label, each in enumerate(document["categories"])}
    settings = {"path": ".", "train": "images/train", "val": "images/val", "names": names}
    (folder / "data.yaml").write_text(yaml.safe_dump(settings))
    shutil.rmtree(folder / "coco")


def write_specs(folder: Path, name: str) -> None:
    """Settings of a run that takes seconds; a run uses settings that are there."""
    folder.mkdir(parents=True)
    pool = POOL | {"name": f"{name}-teachers", "dataset": name}
    search = SEARCH | {"name": name, "dataset": name, "pool": f"{name}-teachers"}
    search |= {"budget": {"max_trials": 2}}
    (folder / f"{name}-teachers.yaml").write_text(yaml.safe_dump(pool))
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(search))


@pytest.mark.usefixtures("search")
def test_one_command_leads_from_a_yolo_folder_to_an_exported_detector(
    service: Service, tmp_path: Path
) -> None:
    data, results = tmp_path / "toys", tmp_path / "searchd-data" / "runs" / "toys"
    write_yolo(data)
    write_specs(results, "toys")

    def run() -> Result:
        arguments = ["run", str(data), "--url", service.url]
        return CliRunner(env={"COLUMNS": "200"}).invoke(
            app, [*arguments, "--data-folder", str(tmp_path / "searchd-data")]
        )

    first = run()
    assert first.exit_code == 0, first.output
    assert "train: 28 images" in first.output
    report = (results / "report.txt").read_text()
    assert "Pareto front" in report
    assert "the control" in report
    best = init_detector(
        str(results / "best" / "config.py"), str(results / "best" / "checkpoint.pth"), device="cpu"
    )
    image = sorted((data / "images" / "val").iterdir())[0]
    found = inference_detector(best, str(image)).pred_instances
    assert tuple(best.dataset_meta["classes"]) == ("circle", "square", "triangle", "star")
    assert len(found.labels) == len(found.bboxes)

    assert run().exit_code == 0  # nothing is trained again
    assert (results / "report.txt").read_text().splitlines()[:5] == report.splitlines()[:5]
