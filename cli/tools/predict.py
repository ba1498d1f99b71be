"""`searchd detector predict`: draw what an exported detector finds, and write COCO results."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import fail
from cli.output import quiet_imports, show_rows
from cli.resources.export_files import SourceArgument, ThreadsOption, located
from cli.service import URL, UrlOption
from cli.tools.prediction_inputs import VIDEOS, targets, video_among
from searchd.domain.errors import InvalidValueError

RESULTS = "detections.json"

ImagesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER|VIDEO...",
        help="Images, or folders whose images are used, with all their subfolders; or one video "
        f"({', '.join(sorted(VIDEOS))}).",
    ),
]
OutOption = Annotated[
    Path,
    typer.Option(
        "--out", file_okay=False, help="Folder to write the drawings and the results into."
    ),
]
ScoreOption = Annotated[
    float,
    typer.Option("--score", min=0, max=1, help="Smallest score of a detection, from 0 to 1."),
]
EveryOption = Annotated[
    int | None,
    typer.Option(
        "--every",
        min=1,
        metavar="N",
        help="Use only every N-th frame of a video; the drawn video has these frames, and lasts as "
        "long. All frames by default.",
    ),
]


def predict(
    source: SourceArgument,
    images: ImagesArgument,
    out: OutOption = Path("predictions"),
    score: ScoreOption = 0.3,
    every: EveryOption = None,
    threads: ThreadsOption = 1,
    url: UrlOption = URL,
) -> None:
    """Draw what an exported detector finds on images or a video, and write COCO results.

    The results are in detections.json: a list with image_id, file_name, category_id (counted from 1
    in the order of the classes), category, bbox (x, y, width, height in pixels) and score, and of a
    detector that finds masks segmentation (run lengths, which pycocotools reads). image_id is
    counted from 1 in the order of the table; of a video it is the number of the frame, from 0, and
    time_s its seconds from the start. What cannot be read is named and left out, and the exit code
    is 1 then.
    """
    video = video_among(images, out)
    if video is None and every is not None:
        raise InvalidValueError("--every is for a video; leave it out for images")
    drawings = {} if video else targets(images, out)
    with quiet_imports():
        # Imported here because they import torch, which other commands do not need.
        from cli.tools.drawn import draw_images, draw_video
        from detection.deployment.opened import open_export
    with tempfile.TemporaryDirectory() as folder:
        opened = open_export(located(url, source, Path(folder)), num_threads=threads)
        out.mkdir(parents=True, exist_ok=True)
        if video is not None:
            drawn = draw_video(opened, video, out / video.stem, every=every or 1, score=score)
        else:
            drawn = draw_images(opened, drawings, score)
    (out / RESULTS).write_text(json.dumps(drawn.results, indent=2))
    show_rows(drawn.header, drawn.rows)
    if drawn.problems:
        raise fail(f"{drawn.problems} of these could not be used completely; see above")
