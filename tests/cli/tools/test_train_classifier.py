"""`searchd tools train-classifier`, on a few tiny crops."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

from detection.crop_classifier import load
from detection.crop_classifier_training import ClassifierTraining
from detection.data.shapes import make_shapes
from searchd.spec import DatasetSpec
from tests.cli.conftest import Run

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

Train = Callable[..., Result]
EXAMPLE = Path(__file__).parents[3] / "examples" / "dicod" / "classifier.yaml"
OUTER_FIELDS = ("train", "validation", "seed", "device", "num_workers", "colour")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, num_train=4, num_validation=2, image_size=48)


@pytest.fixture
def train(offline: Run, drawn: DatasetSpec, tmp_path: Path) -> Train:
    """Runs the command with a tiny classifier, and with some fields of its spec changed."""

    def run(folder: Path, *options: str, **changes: Any) -> Result:
        spec = tmp_path / "spec.yaml"
        spec.write_text(yaml.safe_dump(_spec(drawn, changes)))
        return offline("tools", "train-classifier", spec, folder, *options)

    return run


def _spec(drawn: DatasetSpec, changes: dict[str, Any]) -> dict[str, Any]:
    """The fields of a spec; those of the section `classifier` may be given directly."""
    classifier = {
        "backbone": "resnet18",
        "base_channels": 4,
        "input_size": 32,
        "epochs": 2,
        "batch_size": 4,
    }
    outer = {name: value for name, value in changes.items() if name in OUTER_FIELDS}
    inner = {name: value for name, value in changes.items() if name not in OUTER_FIELDS}
    return {
        "train": drawn.train.model_dump(mode="json"),
        "classifier": {**classifier, **inner},
        **outer,
    }


def test_it_stores_a_classifier_with_its_accuracy(
    train: Train, drawn: DatasetSpec, tmp_path: Path
) -> None:
    result = train(
        tmp_path / "classifier",
        *("--format", "json"),
        validation=drawn.validation.model_dump(mode="json"),
        two_heads=True,
        milestones=[1],
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


def test_an_interrupted_run_resumes_from_its_last_epoch(
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
    other = train(tmp_path / "stopped", seed=7)
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
    ("changes", "message"),
    [
        (
            {"backbone": "resnet19"},
            'classifier.backbone: there is no backbone "resnet19"; did you mean',
        ),
        (
            {"losses": "focal", "two_heads": True},
            "classifier: two_heads needs joint losses, and losses is focal",
        ),
        ({"losses": "hinge"}, 'classifier.losses: must be softmax, focal or joint, not "hinge"'),
        ({"learning_rate": 0}, "classifier.learning_rate: must be greater than 0, not 0"),
        ({"validation": {"images": "."}}, "validation.annotations: required field is missing"),
        ({"colour": "red"}, "colour: unknown field"),
        ({"epoch": 3}, "classifier.epoch: unknown field"),
        ({"device": "tpu"}, 'device: must be cpu or cuda, not "tpu"'),
        ({"seed": -1}, "seed: must be at least 0, not -1"),
        (
            {"train": {"annotations": "nowhere.json", "images": "nowhere"}},
            "train.annotations=nowhere.json is not a file; train.images=nowhere is not a folder",
        ),
        (
            {"initial_weights": "nowhere.pth"},
            "classifier.initial_weights=nowhere.pth is not a file",
        ),
    ],
)
def test_it_names_what_is_wrong(
    train: Train, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    result = train(tmp_path / "classifier", **changes)

    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "classifier").exists()


def test_a_missing_spec_is_named(offline: Run, tmp_path: Path) -> None:
    result = offline("tools", "train-classifier", tmp_path / "no.yaml", tmp_path / "classifier")

    assert result.exit_code == 2
    assert "no.yaml" in result.stderr


def test_validation_data_must_have_the_same_classes(
    train: Train, drawn: DatasetSpec, tmp_path: Path
) -> None:
    document = json.loads(drawn.validation.annotations.read_text())
    document["categories"][0]["name"] = "disc"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document))

    result = train(
        tmp_path / "classifier",
        validation={"annotations": str(other), "images": str(drawn.validation.images)},
    )

    assert result.exit_code == 2
    assert "the validation data has the classes disc" in result.stderr


def test_help_says_what_it_is_for(offline: Run) -> None:
    result = offline("tools", "train-classifier", "--help")

    assert result.exit_code == 0
    assert "DICOD" in result.stdout


def test_the_example_trains_on_the_shapes_that_make_shapes_draws(
    offline: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = yaml.safe_load(EXAMPLE.read_text())
    fields["classifier"] |= {"epochs": 1, "base_channels": 4}
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(fields))
    monkeypatch.chdir(tmp_path)

    drawn = offline("dataset", "make-shapes", "shapes", "--train", 4, "--validation", 2)
    trained = offline("tools", "train-classifier", "short.yaml", "shapes-classifier")

    assert (drawn.exit_code, trained.exit_code) == (0, 0), trained.stderr
    assert "classifier: shapes-classifier" in trained.stdout
