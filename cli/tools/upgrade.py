"""`searchd tools upgrade`: make an exported detector deformable, or change its family."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api import schemas
from cli.output import Format, FormatOption, show_json
from searchd.domain.detector import Family

if TYPE_CHECKING:
    from detection.export import Export


def upgrade(
    exported: Annotated[
        Path,
        typer.Argument(
            exists=True,
            file_okay=False,
            help="Folder that `searchd search export` or `searchd distillation export` wrote.",
        ),
    ],
    folder: Annotated[
        Path, typer.Option(file_okay=False, help="Folder to write the upgraded detector to.")
    ] = Path("upgraded"),
    deformable: Annotated[
        list[int] | None,
        typer.Option(
            metavar="STAGE",
            help="Backbone stage, 1 to 4, whose 3x3 convolutions become deformable (DCNv2). The "
            "detector still computes the same. Repeatable; none by default.",
        ),
    ] = None,
    family: Annotated[
        Family | None,
        typer.Option(
            help="Detector family to put the backbone into. New parts get random weights. By "
            "default the family stays."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random weights of new parts.")] = 0,
    output: FormatOption = Format.TABLE,
) -> None:
    """Make an exported detector deformable, or give it another head, to train it with mmdet.

    Joint-DetNAS upgrades the detectors that it found in both ways (docs/papers.md 1.10).
    """
    written = _upgraded(exported, folder, deformable or [], family, seed)
    rows = {name: str(getattr(written, name)) for name in ("config", "checkpoint", "weights")}
    if output is Format.JSON:
        show_json(rows)
        return
    for name, value in rows.items():
        typer.echo(f"{name:<11}{value}")


def _upgraded(
    exported: Path, folder: Path, deformable: list[int], family: Family | None, seed: int
) -> "Export":
    # Imported here because they import torch, which other commands do not need.
    import torch
    from safetensors.torch import load_file

    from detection.build import Student, with_family
    from detection.export import export
    from detection.morphism.deformable import with_deformable_convs

    found = schemas.Detector.model_validate_json((exported / "detector.json").read_text())
    meta = torch.load(exported / "checkpoint.pth", weights_only=True)["meta"]
    student = Student(detector=found.detector, weights=load_file(exported / "model.safetensors"))
    if deformable:
        student = with_deformable_convs(student, deformable)
    if family is not None:
        torch.manual_seed(seed)
        student = with_family(student, family)
    return export(
        student,
        folder,
        class_names=meta["dataset_meta"]["classes"],
        resolution=max(found.evaluations, key=lambda each: each.score or 0.0).resolution,
    )
