"""Draw and list what model.xml finds: python predict.py IMAGE OUTPUT [SCORE, default 0.3]."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import openvino


def prepare(image: np.ndarray, facts: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the input of an image (H x W x 3, BGR), and its scale along x, y, x, y."""
    sides, limits, fixed = image.shape[1::-1], facts["resolution"], facts["fixed"]
    ratios = np.divide(limits, sides) if fixed else np.divide(sorted(limits), sorted(sides))
    size = [max(1, int(side * ratios.min() + 0.5)) for side in sides]
    filled = np.full((*(limits if fixed else size)[::-1], 3), facts["fill"], np.float32)
    filled[: size[1], : size[0]] = cv2.resize(image, size)[..., ::-1]  # RGB, 0 to 255
    return np.ascontiguousarray(filled.transpose(2, 0, 1)[None]), np.tile(np.divide(size, sides), 2)


def main(source: str, target: str, least_score: str = "0.3") -> None:
    model = openvino.Core().read_model(Path(__file__).with_name("model.xml"))
    stored = model.get_rt_info("searchd").astype(dict)
    facts = {name: json.loads(text.value) for name, text in stored.items()}
    detector = openvino.compile_model(model, "CPU", facts["config"])
    if (image := cv2.imread(source)) is None:
        sys.exit(f"{source} cannot be read as an image")
    pixels, scale = prepare(image, facts)
    boxes, scores, labels = (detector(pixels)[name][0] for name in ("boxes", "scores", "labels"))
    for box, score, label in zip(boxes / scale, scores, labels, strict=True):
        if label >= 0 and score >= float(least_score):
            text, corners = f"{facts['class_names'][label]} {score:.2f}", box.round().astype(int)
            sys.stdout.write(f"{text} {' '.join(f'{side:.1f}' for side in box)}\n")
            cv2.rectangle(image, corners[:2], corners[2:], (0, 200, 0), 2)
            cv2.putText(image, text, corners[:2], 0, 0.5, (0, 200, 0), 1)
    if not cv2.imwrite(target, image):
        sys.exit(f"{target} cannot be written")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) in (3, 4) else sys.exit(__doc__)
