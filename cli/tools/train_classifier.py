"""`searchd tools train-classifier`: the teacher of DICOD's methods."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli.output import Format, FormatOption, show_json
from searchd import artifacts
from searchd.domain.errors import InvalidValueError
from searchd.messages.files import RESUME_FILE
from searchd.spec import SplitSpec
from searchd.spec.classifier import Augmentation, ClassifierSpec, Losses

if TYPE_CHECKING:
    from detection.crop_classifier_training import ClassifierTraining


_PAPER = ClassifierSpec()
AnnotationsFile = typer.Option(exists=True, dir_okay=False, help="COCO annotations to train on.")
ImagesFolder = typer.Option(exists=True, file_okay=False, help="Folder of their images.")


def train_classifier(
    folder: Annotated[str, typer.Argument(help="Folder or URI to store it in.")],
    annotations: Annotated[Path, AnnotationsFile],
    images: Annotated[Path, ImagesFolder],
    validation_annotations: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="To measure accuracy on.")
    ] = None,
    validation_images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of their images.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="Preset, for example resnet18.")] = _PAPER.backbone,
    base_channels: Annotated[
        int | None, typer.Option(min=1, help="Outputs of the stem; all widths scale with it.")
    ] = None,
    losses: Annotated[
        Losses, typer.Option(help="For students with softmax heads, sigmoid (focal), or both.")
    ] = _PAPER.losses,
    two_heads: Annotated[
        bool, typer.Option("--two-heads", help="A layer for each of the joint losses.")
    ] = False,
    input_size: Annotated[
        int, typer.Option(min=32, help="Pixels a side of a crop.")
    ] = _PAPER.input_size,
    augmentation: Annotated[
        Augmentation, typer.Option(help="As the student's.")
    ] = _PAPER.augmentation,
    epochs: Annotated[int, typer.Option(min=1)] = _PAPER.epochs,
    milestone: Annotated[
        list[int] | None,
        typer.Option(help="Epochs after which the rate is divided by ten; 50 by default."),
    ] = None,
    learning_rate: Annotated[float, typer.Option()] = _PAPER.learning_rate,
    batch_size: Annotated[int, typer.Option(min=2, help="Crops.")] = _PAPER.batch_size,
    momentum: Annotated[float, typer.Option()] = _PAPER.momentum,
    weight_decay: Annotated[float, typer.Option()] = _PAPER.weight_decay,
    initial_weights: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Checkpoint with a backbone (ImageNet)."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every draw.")] = 0,
    device: Annotated[Literal["cpu", "cuda"], typer.Option()] = "cpu",
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images ahead.")] = 0,
    output: FormatOption = Format.TABLE,
) -> None:
    """Train a classifier of object crops, which DICOD distils from.

    One crop per object of a COCO-format split. Defaults are the paper's. A run that was interrupted
    goes on from its last whole epoch when the same command is given again.
    """
    if (validation_annotations is None) != (validation_images is None):
        raise typer.BadParameter("give --validation-annotations and --validation-images together")
    spec = ClassifierSpec(
        backbone=backbone,
        base_channels=base_channels,
        losses=losses,
        two_heads=two_heads,
        input_size=input_size,
        augmentation=augmentation,
        epochs=epochs,
        milestones=_PAPER.milestones if milestone is None else tuple(milestone),
        learning_rate=learning_rate,
        batch_size=batch_size,
        momentum=momentum,
        weight_decay=weight_decay,
        initial_weights=initial_weights,
    )
    validation = None
    if validation_annotations is not None and validation_images is not None:
        validation = SplitSpec(annotations=validation_annotations, images=validation_images)
    with _stdout_for_results():
        from detection import crop_classifier, crop_classifier_training
        from detection.data.coco import CocoSplit
        from detection.data.crops import CropSplit
        from workers.torch_settings import check_device

        check_device(device)
        held_out = None if validation is None else CropSplit(CocoSplit(validation))
        training = crop_classifier_training.ClassifierTraining(
            spec,
            CropSplit(CocoSplit(SplitSpec(annotations=annotations, images=images))),
            seed=seed,
            device=device,
            num_workers=workers,
        )
        _check_classes(training, held_out)
        _train(training, folder, epochs)
        accuracy = None
        if held_out is not None:
            accuracy = crop_classifier.accuracy(
                training.classifier, held_out, batch_size=batch_size
            )
        card = crop_classifier.save(training.classifier, folder, accuracy=accuracy)
        artifacts.delete(artifacts.join(folder, RESUME_FILE))
    if output is Format.JSON:
        show_json(card.model_dump(mode="json"))
        return
    typer.echo(f"classifier: {folder}")
    for head, share in (accuracy or {}).items():
        typer.echo(f"accuracy ({head}): {100 * share:.1f} %")


@contextlib.contextmanager
def _stdout_for_results() -> Iterator[None]:
    """mmdet prints to stdout when its data sets are imported."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _check_classes(training: "ClassifierTraining", held_out: Any) -> None:
    names = training.classifier.class_names
    if held_out is not None and held_out.split.class_names != names:
        raise InvalidValueError(
            f"the validation data has the classes {', '.join(held_out.split.class_names)}, and the "
            f"training data {', '.join(names)}; both need the same ones"
        )


def _train(training: "ClassifierTraining", folder: str, epochs: int) -> None:
    """Train to the end, from where an earlier run stopped; a checkpoint after each epoch."""
    import torch

    checkpoint = artifacts.join(folder, RESUME_FILE)
    if artifacts.exists(checkpoint):
        state = torch.load(io.BytesIO(artifacts.read_bytes(checkpoint)), weights_only=True)
        training.load_state_dict(state)
    with _progress() as progress:
        task = progress.add_task("", total=training.num_iterations)
        mean = 0.0
        for step in training.run():
            mean += (step.loss - mean) / step.iteration
            text = f"epoch {step.epoch}/{epochs}: loss {mean:.4f}"
            progress.update(task, completed=step.iteration, description=text)
            if step.ends_epoch:
                progress.console.print(text)
                buffer = io.BytesIO()
                torch.save(training.state_dict(), buffer)
                artifacts.write(checkpoint, buffer.getvalue(), name="resume")
                mean = 0.0


def _progress() -> Progress:
    """On stderr, gone at the end; where that is no terminal, only what is printed through it."""
    console = Console(stderr=True, highlight=False)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
