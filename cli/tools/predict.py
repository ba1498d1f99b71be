"""`searchd detector predict`: draw what an exported detector finds, and write COCO results."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import fail
from cli.output import show_rows
from cli.service import URL, UrlOption
from searchd.domain.errors import InvalidValueError

MODEL = "model.onnx"
RESULTS = "detections.json"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Endings of the files that are images, in lower case."""

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="EXPORT|TRIAL",
        help="Folder that `searchd detector export` wrote, or its model.onnx; or the id of a trial "
        "such as s-7f3k2m-12, whose detector is exported first if it was not.",
    ),
]
ImagesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER...",
        help="Images, or folders whose images are used, with all their subfolders.",
    ),
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out", file_okay=False, help="Folder to write the drawn images and the results into."
    ),
]
ScoreOption = Annotated[
    float,
    typer.Option("--score", min=0, max=1, help="Smallest score of a detection, from 0 to 1."),
]


def add_predict(app: typer.Typer, download: Callable[[str, str, Path], Path]) -> None:
    """Add the command.

    Args:
        app: Commands of detectors.
        download: Downloads the ONNX export of a trial at a URL into a folder; returns its file.
    """

    @app.command()
    def predict(
        source: SourceArgument,
        images: ImagesArgument,
        out: OutOption = Path("predictions"),
        score: ScoreOption = 0.3,
        url: UrlOption = URL,
    ) -> None:
        """Draw what an exported detector finds on images, and write COCO results.

        The results are in detections.json: a list with image_id (counted from 1 in the order of
        the table), file_name, category_id (counted from 1 in the order of the classes), category,
        bbox (x, y, width, height in pixels) and score.
        """
        files = targets(images, out)
        with tempfile.TemporaryDirectory() as folder:
            model = exported_model(source) or download(url, source, Path(folder))
            results = draw(model, files, score)
        out.mkdir(parents=True, exist_ok=True)
        (out / RESULTS).write_text(json.dumps(results, indent=2))
        counts = {str(file): 0 for file in files}
        for found in results:
            counts[found["file_name"]] += 1
        show_rows(["IMAGE", "DETECTIONS"], counts.items())


def exported_model(source: str) -> Path | None:
    """Return the ONNX file that a path leads to; None if there is no such path.

    Raises:
        InvalidValueError: The folder has no ONNX file.
    """
    path = Path(source)
    if path.is_dir():
        path = path / MODEL
        if not path.is_file():
            raise InvalidValueError(
                f"{source} has no {MODEL}; give a folder that `searchd detector export` wrote"
            )
    return path if path.is_file() else None


def targets(given: list[Path], out: Path) -> dict[Path, Path]:
    """Return the path of the drawing of each image.

    Raises:
        InvalidValueError: A path does not exist, a folder has no images, or a drawing would
            overwrite an image or another drawing.
    """
    drawn: dict[Path, Path] = {}
    for file, relative in _images_in(given):
        if (out / relative).resolve() == file.resolve():
            raise InvalidValueError(f"--out {out} would overwrite {file}; give another folder")
        if relative in drawn:
            raise InvalidValueError(
                f"{drawn[relative]} and {file} are both drawn as {relative}; give their folder, or "
                "draw them one after another with another --out"
            )
        drawn[relative] = file
    return {file: out / relative for relative, file in drawn.items()}


def _images_in(given: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each image with the path, relative to the output, that its drawing gets."""
    for path in given:
        if path.is_file():
            yield path, Path(path.name)
            continue
        inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES)
        if not inside:
            raise InvalidValueError(
                f"{path} has no images ({', '.join(sorted(SUFFIXES))})"
                if path.is_dir()
                else f"{path} does not exist"
            )
        yield from ((each, each.relative_to(path)) for each in inside)


def draw(model: Path, files: dict[Path, Path], least_score: float) -> list[dict[str, Any]]:
    """Write the drawing of each image, and return the detections in COCO's result format.

    Raises:
        typer.Exit: onnxruntime is missing, an image cannot be read, or a drawing cannot be written.
    """
    try:
        # Imported here because they take long and are an extra, which other commands do not need.
        import cv2

        from detection.deployment.onnx_predict import Detector
    except ModuleNotFoundError as error:
        raise fail(
            f"{error.name} is not installed; install it with: pip install 'searchd[export]'"
        ) from error
    detector = Detector(model)
    results: list[dict[str, Any]] = []
    for number, (file, target) in enumerate(files.items(), start=1):
        image = cv2.imread(str(file))
        if image is None:
            raise fail(f"{file} cannot be read as an image")
        found = detector.detect(image, least_score)
        detector.draw(image, found)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(target), image):
            raise fail(f"{target} cannot be written")
        names = detector.facts["class_names"]
        results += [_result(number, file, names, *each) for each in found]
    return results


def _result(
    number: int, file: Path, names: list[str], label: int, score: float, box: list[float]
) -> dict[str, Any]:
    left, top, right, bottom = box
    return {
        "image_id": number,
        "file_name": str(file),
        "category_id": label + 1,
        "category": names[label],
        "bbox": [left, top, right - left, bottom - top],
        "score": score,
    }
