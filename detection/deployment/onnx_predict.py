"""Draw what the detector beside this file finds: python predict.py IMAGE OUTPUT [SCORE].

IMAGE is read, detections with at least SCORE (0 to 1, default 0.3) are drawn into OUTPUT and
printed: class, score, x1, y1, x2, y2 in pixels. Needs onnxruntime, numpy and
opencv-python-headless, and nothing else.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime


class Detector:
    """The detector in an ONNX file."""

    def __init__(self, model: Path) -> None:
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        stored = self.session.get_modelmeta().custom_metadata_map
        self.facts = {name: json.loads(text) for name, text in stored.items()}

    def detect(self, image: np.ndarray, least_score: float) -> list[tuple[int, float, list[float]]]:
        """Return label, score and box (x1, y1, x2, y2) of an image, H x W x 3, BGR; best first."""
        pixels, scale = prepare(image, self.facts)
        boxes, scores, labels = (each[0] for each in self.session.run(None, {"images": pixels}))
        found = zip(labels.tolist(), scores.tolist(), (boxes / scale).tolist(), strict=True)
        return [(label, score, box) for label, score, box in found if score >= least_score]

    def draw(self, image: np.ndarray, found: list[tuple[int, float, list[float]]]) -> None:
        """Draw detections into the image."""
        for label, score, box in found:
            left, top, right, bottom = (round(side) for side in box)
            name = f"{self.facts['class_names'][label]} {score:.2f}"
            cv2.rectangle(image, (left, top), (right, bottom), (0, 200, 0), 2)
            cv2.putText(image, name, (left, max(12, top - 4)), 0, 0.5, (0, 200, 0), 1)


def prepare(image: np.ndarray, facts: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the input, 1 x 3 x H x W, and its pixels per pixel of the image for x1, y1, x2, y2."""
    (height, width), (to_width, to_height) = image.shape[:2], facts["resolution"]
    if facts["fixed"]:
        scale = min(to_width / width, to_height / height)
    else:  # the long side, or the short side, reaches its limit
        limits, sides = sorted((to_width, to_height)), sorted((width, height))
        scale = min(limit / side for limit, side in zip(limits, sides, strict=True))
    size = max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
    pixels = cv2.resize(image, size)[..., ::-1].astype(np.float32)  # RGB, 0 to 255
    if facts["fixed"]:
        canvas = np.full((to_height, to_width, 3), facts["fill"], np.float32)
        canvas[: size[1], : size[0]] = pixels
        pixels = canvas
    scales = np.array([size[0] / width, size[1] / height] * 2, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]), scales


def main(source: str, target: str, least_score: float = 0.3) -> None:
    detector = Detector(Path(__file__).with_name("model.onnx"))
    image = cv2.imread(source)
    if image is None:
        sys.exit(f"{source} cannot be read as an image")
    found = detector.detect(image, least_score)
    for label, score, box in found:
        corners = " ".join(f"{side:.1f}" for side in box)
        sys.stdout.write(f"{detector.facts['class_names'][label]} {score:.2f} {corners}\n")
    detector.draw(image, found)
    if not cv2.imwrite(target, image):
        sys.exit(f"{target} cannot be written")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:]))
