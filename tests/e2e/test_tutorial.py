"""Every command of docs/tutorial.md, with settings of the run that take seconds."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from mmdet.apis import init_detector
from typer.testing import CliRunner

from cli.local_service import Service
from cli.main import app
from detection.data.shapes import make_shapes
from tests.e2e.specs import POOL, SEARCH

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"

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
    search |= {"budget": {"max_trials": 2, "finish": {"detectors": 1, "epochs": 1}}}
    (folder / f"{name}-teachers.yaml").write_text(yaml.safe_dump(pool))
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(search))


def commands(language: str) -> list[str]:
    """The code blocks of the tutorial in a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", TUTORIAL.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.usefixtures("search")
def test_tutorial_leads_from_a_folder_of_photos_to_an_exported_detector(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_yolo(tmp_path / "photos")
    results = tmp_path / "searchd-data" / "runs" / "photos"
    write_specs(results, "photos")
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"COLUMNS": "200", "SEARCHD_URL": service.url})

    def call(command: str) -> str:
        program, *arguments = shlex.split(command)
        assert program == "searchd"
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0, f"{command}: {result.output}"
        return result.output

    outputs = {}
    for block in commands("sh"):
        for command in block.splitlines():
            outputs[command] = call(command)
    for command in ("searchd search kill photos-2", "searchd pool kill photos-2-teachers"):
        call(command)  # its recommended settings would train for two hours

    assert "train: 28 images" in outputs["searchd run photos --budget 2h"]
    report = (results / "report.txt").read_text()
    assert "the control" in report
    assert (results / "pareto.png").exists()
    assert "base" in outputs["searchd search pareto photos"]
    for code in commands("python"):
        exec(compile(code, str(TUTORIAL), "exec"), {})  # our own document
    best = init_detector(
        str(results / "best" / "config.py"), str(results / "best" / "checkpoint.pth"), device="cpu"
    )
    assert tuple(best.dataset_meta["classes"]) == ("circle", "square", "triangle", "cross")

    call("searchd run photos --budget 2h")  # nothing is trained again
    assert (results / "report.txt").read_text().splitlines()[:5] == report.splitlines()[:5]
