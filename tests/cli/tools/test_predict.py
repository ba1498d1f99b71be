"""`searchd detector predict` on files: a detector of two classes that finds a fixed box."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from tests.cli.conftest import Run
from tests.fixed_graphs import write_graph


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder with a detector that finds a cat at (8, 4, 24, 20) with 0.75 and a dog with 0.25, in
    pixels of an input of 32 x 32."""
    return write_graph(tmp_path / "export")


def picture(path: Path, width: int = 64, height: int = 64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)
    return path


def test_images_are_drawn_and_results_are_in_pixels_of_the_image(
    offline: Run, export: Path, tmp_path: Path
) -> None:
    one = picture(tmp_path / "one.png")
    picture(tmp_path / "folder" / "sub" / "two.JPG", 128, 128)

    result = offline(
        "detector", "predict", export, one, tmp_path / "folder", "--out", tmp_path / "o"
    )

    assert result.exit_code == 0, result.stderr
    found = json.loads((tmp_path / "o" / "detections.json").read_text())
    two = tmp_path / "folder" / "sub" / "two.JPG"
    cat = {"category_id": 1, "category": "cat", "score": 0.75}
    assert found == [
        {"image_id": 1, "file_name": str(one), "bbox": [16.0, 8.0, 32.0, 32.0], **cat},
        {"image_id": 2, "file_name": str(two), "bbox": [32.0, 16.0, 64.0, 64.0], **cat},
    ]
    assert np.asarray(Image.open(tmp_path / "o" / "one.png")).any()
    assert np.asarray(Image.open(tmp_path / "o" / "sub" / "two.JPG")).any()
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["DETECTIONS", "1", "1"]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
def test_masks_are_drawn_and_written_as_pycocotools_reads_them(
    offline: Run, tmp_path: Path
) -> None:
    export = write_graph(tmp_path / "export", masks=True)
    image = picture(tmp_path / "one.png", 128, 64)

    result = offline("detector", "predict", export, image, "--out", tmp_path / "o")

    assert result.exit_code == 0, result.stderr
    (found,) = json.loads((tmp_path / "o" / "detections.json").read_text())
    assert found["bbox"] == [32.0, 16.0, 64.0, 64.0]
    pixels = coco_masks.decode(found["segmentation"])
    assert pixels.shape == (64, 128)  # the box is cut at the lower edge
    assert pixels[16:, 32:64].all()
    assert pixels.sum() == 48 * 32
    drawing = np.asarray(Image.open(tmp_path / "o" / "one.png"))
    assert drawing[40, 48].any()
    assert not drawing[40, 80].any()


def video(path: Path, num_frames: int = 7) -> Path:
    """Frames of 64 x 64 pixels, 10 in a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for number in range(num_frames):
        writer.write(np.full((64, 64, 3), 5 * number, dtype=np.uint8))
    writer.release()
    return path


def test_every_second_frame_of_a_video_is_drawn(offline: Run, export: Path, tmp_path: Path) -> None:
    clip, out = video(tmp_path / "clip.avi"), tmp_path / "o"

    result = offline("detector", "predict", export, clip, "--every", "2", "--out", out)

    assert result.exit_code == 0, result.stderr
    found = json.loads((out / "detections.json").read_text())
    assert [(each["image_id"], each["time_s"]) for each in found] == [
        *((0, 0.0), (2, 0.2), (4, 0.4), (6, 0.6)),
    ]
    assert found[0]["bbox"] == [16.0, 8.0, 32.0, 32.0]
    assert {each["file_name"] for each in found} == {str(clip)}
    drawn = cv2.VideoCapture(str(out / "clip.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert drawn.get(cv2.CAP_PROP_FPS) == 5
    assert result.stdout.splitlines()[1].split() == [str(clip), "4", "4", str(out / "clip.mp4")]


def test_a_video_that_ends_too_early_is_drawn_so_far(
    offline: Run, export: Path, tmp_path: Path
) -> None:
    clip = video(tmp_path / "clip.avi", num_frames=40)
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])

    result = offline("detector", "predict", export, clip, "--out", tmp_path / "o")

    assert result.exit_code == 1
    assert f"error: {clip} can be read up to frame " in result.stderr
    found = json.loads((tmp_path / "o" / "detections.json").read_text())
    assert 5 < len(found) < 40


def test_a_video_that_cannot_be_read_is_named_with_a_cure(
    offline: Run, export: Path, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mkv"
    clip.write_text("no video")

    result = offline("detector", "predict", export, clip, "--out", tmp_path / "o")

    assert result.exit_code == 1
    assert f"{clip} cannot be read as a video" in result.stderr
    assert "ffmpeg -i clip.mkv -c:v mjpeg clip.avi" in result.stderr


def test_a_broken_image_is_left_out_and_the_others_are_drawn(
    offline: Run, export: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "in" / "a.png"
    picture(tmp_path / "in" / "b.png")
    broken.write_text("no image")

    result = offline("detector", "predict", export, tmp_path / "in", "--out", tmp_path / "o")

    assert result.exit_code == 1
    assert f"error: {broken} cannot be read as an image; it is left out" in result.stderr
    (found,) = json.loads((tmp_path / "o" / "detections.json").read_text())
    assert (found["image_id"], Path(found["file_name"]).name) == (2, "b.png")
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"b.png", "detections.json"}
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["DETECTIONS", "-", "1"]


def test_a_lower_score_shows_more(offline: Run, export: Path, tmp_path: Path) -> None:
    one = picture(tmp_path / "one.png")

    arguments = (export / "model.onnx", one, "--out", tmp_path / "o", "--score", "0.2")
    offline("detector", "predict", *arguments)

    found = json.loads((tmp_path / "o" / "detections.json").read_text())
    assert [each["category"] for each in found] == ["cat", "dog"]


def test_paths_that_cannot_be_used_are_named(offline: Run, export: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    (tmp_path / "empty").mkdir()

    def refused(*arguments: object) -> tuple[int, str]:
        result = offline("detector", "predict", *arguments, "--out", tmp_path / "o")
        return result.exit_code, result.stderr

    code, reason = refused(export, tmp_path / "nowhere.png")
    assert (code, f"{tmp_path / 'nowhere.png'} does not exist" in reason) == (2, True)
    code, reason = refused(export, tmp_path / "empty")
    assert (code, f"{tmp_path / 'empty'} has no images" in reason) == (2, True)
    code, reason = refused(tmp_path / "empty", picture(tmp_path / "one.png"))
    assert (code, "has no model.onnx; give a folder that" in reason) == (2, True)
    code, reason = refused(export, picture(tmp_path / "o" / "two.png"))
    assert (code, f"would overwrite {tmp_path / 'o' / 'two.png'}" in reason) == (2, True)
    code, reason = refused(export, picture(tmp_path / "a" / "x.png"), picture(tmp_path / "x.png"))
    assert (code, "are both drawn as x.png" in reason) == (2, True)
    code, reason = refused(tmp_path / "nowhere", text)
    assert (code, "nowhere does not exist; give a folder with an export" in reason) == (2, True)
    clip = video(tmp_path / "v" / "clip.avi")
    code, reason = refused(export, tmp_path / "v")
    assert (code, f"give its videos one by one, such as {clip}" in reason) == (2, True)
    code, reason = refused(export, clip, text)
    assert (code, "give one video alone" in reason) == (2, True)
    code, reason = refused(export, text, "--every", "2")
    assert (code, "--every is for a video" in reason) == (2, True)
    code, reason = refused(export, text)
    assert (code, f"{text} cannot be read as an image" in reason) == (1, True)
