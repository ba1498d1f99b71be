"""Export of trained detectors as files that mmdet loads."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from api import schemas
from api.client import Client
from api.schemas.distillations import DistillationDetails
from cli.output import Format, show_json
from searchd.messages.files import STUDENT, weights_file

FolderOption = Annotated[
    Path, typer.Option(file_okay=False, help="Folder to write the exported files into.")
]
FOLDER = Path("export")


def trial_id_of(trials: Iterable[schemas.Trial], trial: str) -> str:
    """Return the id of a trial.

    Args:
        trials: All trials of the run.
        trial: Name of one of them, or already an id.
    """
    return {each.name: each.id for each in trials}.get(trial, trial)


def export(
    client: Client,
    run: schemas.SearchDetails | DistillationDetails,
    trial_id: str,
    folder: Path,
    output: Format,
) -> None:
    """Write config, checkpoint and safetensors of a detector, and print their paths.

    Raises:
        ApiError: There is no such trial, or it has no detector.
    """
    # Imported here because it imports torch, which other commands do not need.
    from safetensors.torch import load_file

    from detection.build import Student
    from detection.export import export as write_export

    detector = client.get_detector(trial_id)
    dataset = client.get_dataset(run.spec.dataset)
    folder.mkdir(parents=True, exist_ok=True)
    weights = client.download(trial_id, STUDENT, folder / weights_file(STUDENT))
    assert dataset.summary is not None  # trials only run on a checked data set
    best = max(detector.evaluations, key=lambda evaluation: evaluation.score or 0.0)
    written = write_export(
        Student(detector=detector.detector, weights=load_file(weights)),
        folder,
        class_names=dataset.summary["class_names"],
        resolution=best.resolution,
    )
    weights.unlink()  # the export holds the same weights as model.safetensors
    (folder / "detector.json").write_text(detector.model_dump_json(indent=2))
    rows = {"detector": trial_id} | {
        name: str(getattr(written, name)) for name in ("config", "checkpoint", "weights")
    }
    if output is Format.JSON:
        show_json(rows)
        return
    for name, value in rows.items():
        typer.echo(f"{name:<11}{value}")
