"""`searchd tools train-classifier`, on a few tiny crops."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from detection.crop_classifier import load
from detection.crop_classifier_training import ClassifierTraining
from detection.data.shapes import make_shapes
from searchd.spec import DatasetSpec
from tests.cli.conftest import Run

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

Train = Callable[..., Result]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, num_train=4, num_validation=2, image_size=48)


@pytest.fixture
def train(offline: Run, drawn: DatasetSpec) -> Train:
    """Runs the command with a tiny classifier."""

    def run(folder: Path, *more: Any) -> Result:
        return offline(
            *("tools", "train-classifier", folder),
            *("--annotations", drawn.train.annotations, "--images", drawn.train.images),
            *("--backbone", "resnet18", "--base-channels", 4, "--input-size", 32),
            *("--epochs", 2, "--batch-size", 4, *more),
        )

    return run


def test_it_stores_a_classifier_with_its_accuracy(
    train: Train, drawn: DatasetSpec, tmp_path: Path
) -> None:
    result = train(
        tmp_path / "classifier",
        *("--validation-annotations", drawn.validation.annotations),
        *("--validation-images", drawn.validation.images, "--format", "json"),
        *("--two-heads", "--milestone", 1),
    )

    assert result.exit_code == 0, result.stderr
    card = json.loads(result.stdout)
    assert card["class_names"] == ["circle", "square", "triangle", "cross"]
    assert set(card["accuracy"]) == {"softmax", "sigmoid"}
    assert card["spec"]["milestones"] == [1]
    assert card["spec"]["learning_rate"] == 1e-4
    assert load(str(tmp_path / "classifier")).class_names[0] == "circle"
    assert [line.split(":")[0] for line in result.stderr.splitlines() if "loss" in line] == [
        "epoch 1/2",
        "epoch 2/2",
    ]
    assert {file.name for file in (tmp_path / "classifier").iterdir()} == {
        "classifier.json",
        "classifier.safetensors",
    }


def test_an_interrupted_run_goes_on_from_its_last_epoch(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole")
    steps = ClassifierTraining._train_step
    done: list[int] = []

    def interrupted(self: ClassifierTraining, batch: Any) -> float:
        done.append(1)
        if len(done) == self.num_iterations + 2:
            raise KeyboardInterrupt
        return steps(self, batch)

    with monkeypatch.context() as context:
        context.setattr(ClassifierTraining, "_train_step", interrupted)
        stopped = train(tmp_path / "stopped")
    left = {file.name for file in (tmp_path / "stopped").iterdir()}
    other = train(tmp_path / "stopped", "--seed", 7)
    resumed = train(tmp_path / "stopped")

    assert stopped.exit_code != 0
    assert left == {"resume.pt"}
    assert other.exit_code == 2
    assert "other settings" in other.stderr
    assert "epoch 1/2" not in resumed.stderr
    expected, found = (load(str(tmp_path / name)).state_dict() for name in ("whole", "stopped"))
    assert whole.exit_code == resumed.exit_code == 0
    assert all(value.equal(found[name]) for name, value in expected.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbone", "resnet19"], "'resnet19' is unknown"),
        (["--losses", "focal", "--two-heads"], "two_heads needs joint losses"),
        (["--losses", "hinge"], "hinge"),
        (["--learning-rate", "0"], "greater than 0"),
        (["--validation-images", "."], "together"),
    ],
)
def test_it_names_what_is_wrong(
    train: Train, tmp_path: Path, options: list[str], message: str
) -> None:
    result = train(tmp_path / "classifier", *options)

    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "classifier").exists()


def test_validation_data_must_have_the_same_classes(
    train: Train, drawn: DatasetSpec, tmp_path: Path
) -> None:
    document = json.loads(drawn.validation.annotations.read_text())
    document["categories"][0]["name"] = "disc"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document))

    result = train(
        tmp_path / "classifier",
        *("--validation-annotations", other, "--validation-images", drawn.validation.images),
    )

    assert result.exit_code == 2
    assert "the validation data has the classes disc" in result.stderr


def test_help_says_what_it_is_for(offline: Run) -> None:
    result = offline("tools", "train-classifier", "--help")

    assert result.exit_code == 0
    assert "DICOD" in result.stdout
