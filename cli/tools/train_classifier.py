"""`searchd tools train-classifier`: the teacher of DICOD's methods."""

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli.output import Format, FormatOption, show_json
from cli.service import SpecFile, read_spec
from searchd import artifacts
from searchd.domain.errors import InvalidValueError
from searchd.messages.files import RESUME_FILE
from searchd.spec.classifier import ClassifierCard, ClassifierTrainingSpec

if TYPE_CHECKING:
    from detection.crop_classifier_training import ClassifierTraining
    from detection.data.crops import CropSplit


def train_classifier(
    file: SpecFile,
    folder: Annotated[str, typer.Argument(help="Folder or URI in which the classifier is stored.")],
    output: FormatOption = Format.TABLE,
) -> None:
    """Train a classifier of object crops, the teacher of DICOD's methods, from a spec.

    The spec names a train split in COCO format; every object in it is a training crop. Paths are
    relative to the current directory. The defaults of all other fields are those of the paper; see
    examples/dicod/classifier.yaml.

    A checkpoint is written after each epoch. Repeating the command after an interruption resumes
    from the last checkpoint.
    """
    spec = read_spec(file, ClassifierTrainingSpec)
    _check_paths(spec)
    with _stdout_for_results():
        card = _train_and_store(spec, folder)
    if output is Format.JSON:
        show_json(card.model_dump(mode="json"))
        return
    typer.echo(f"classifier: {folder}")
    for head, share in (card.accuracy or {}).items():
        typer.echo(f"accuracy ({head}): {100 * share:.1f} %")


def _check_paths(spec: ClassifierTrainingSpec) -> None:
    files = [f"{name}={path} is not a file" for name, path in spec.files if not path.is_file()]
    folders = [f"{name}={path} is not a folder" for name, path in spec.folders if not path.is_dir()]
    if files or folders:
        raise InvalidValueError("; ".join(files + folders))


@contextlib.contextmanager
def _stdout_for_results() -> Iterator[None]:
    """Redirect stdout to stderr: mmdet prints when its data sets are imported."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _train_and_store(spec: ClassifierTrainingSpec, folder: str) -> ClassifierCard:
    from detection import crop_classifier
    from workers.torch_settings import check_device

    check_device(spec.device)
    validation = _crops(spec)
    training = _training(spec)
    _check_classes(training, validation)
    _train(training, folder, spec.classifier.epochs)
    accuracy = None
    if validation is not None:
        accuracy = crop_classifier.accuracy(
            training.classifier, validation, batch_size=spec.classifier.batch_size
        )
    card = crop_classifier.save(training.classifier, folder, accuracy=accuracy)
    artifacts.delete(artifacts.join(folder, RESUME_FILE))
    return card


def _crops(spec: ClassifierTrainingSpec) -> "CropSplit | None":
    """The validation crops, if the spec has any."""
    from detection.data.coco import CocoSplit
    from detection.data.crops import CropSplit

    return None if spec.validation is None else CropSplit(CocoSplit(spec.validation))


def _training(spec: ClassifierTrainingSpec) -> "ClassifierTraining":
    from detection.crop_classifier_training import ClassifierTraining
    from detection.data.coco import CocoSplit
    from detection.data.crops import CropSplit

    return ClassifierTraining(
        spec.classifier,
        CropSplit(CocoSplit(spec.train)),
        seed=spec.seed,
        device=spec.device,
        num_workers=spec.num_workers,
    )


def _check_classes(training: "ClassifierTraining", validation: "CropSplit | None") -> None:
    names = training.classifier.class_names
    if validation is not None and validation.split.class_names != names:
        raise InvalidValueError(
            f"the validation data has the classes {', '.join(validation.split.class_names)}, and "
            f"the training data {', '.join(names)}; both need the same ones"
        )


def _train(training: "ClassifierTraining", folder: str, epochs: int) -> None:
    """Train to the end, from the checkpoint of an earlier run if there is one."""
    _resume(training, folder)
    with _progress() as progress:
        task = progress.add_task("", total=training.num_iterations)
        mean = 0.0
        for step in training.run():
            mean += (step.loss - mean) / step.iteration
            text = f"epoch {step.epoch}/{epochs}: loss {mean:.4f}"
            progress.update(task, completed=step.iteration, description=text)
            if step.ends_epoch:
                progress.console.print(text)
                _write_checkpoint(training, folder)
                mean = 0.0


def _resume(training: "ClassifierTraining", folder: str) -> None:
    import torch

    checkpoint = artifacts.join(folder, RESUME_FILE)
    if artifacts.exists(checkpoint):
        state = torch.load(io.BytesIO(artifacts.read_bytes(checkpoint)), weights_only=True)
        training.load_state_dict(state)


def _write_checkpoint(training: "ClassifierTraining", folder: str) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save(training.state_dict(), buffer)
    artifacts.write(artifacts.join(folder, RESUME_FILE), buffer.getvalue(), name="resume")


def _progress() -> Progress:
    """A progress bar on stderr that is removed at the end; only printed lines if stderr is not a
    terminal."""
    console = Console(stderr=True, highlight=False)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
