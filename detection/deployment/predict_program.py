"""Draw and list what model.onnx finds: python predict.py IMAGE OUTPUT [SCORE, default 0.3]."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

MODEL = "model.onnx"


def with_onnxruntime(file: Path) -> tuple:
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    return session.get_modelmeta().custom_metadata_map, lambda x: session.run(None, {"images": x})


def with_openvino(file: Path) -> tuple:
    import openvino

    model = openvino.Core().read_model(file)
    facts = {name: each.value for name, each in model.get_rt_info("searchd").astype(dict).items()}
    detector = openvino.compile_model(model, "CPU", json.loads(facts["config"]))
    return facts, lambda x: detector(x).to_tuple()


def with_torch(file: Path) -> tuple:
    import torch

    stored = {"facts.json": ""}
    detector = torch.jit.load(file, _extra_files=stored)
    facts = json.loads(stored["facts.json"])
    return facts, lambda x: [each.numpy() for each in detector(torch.from_numpy(x))]


def prepare(image: np.ndarray, facts: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the input of an image (H x W x 3, BGR), and its scale along x, y, x, y."""
    sides, limits, fixed = image.shape[1::-1], facts["resolution"], facts["fixed"]
    ratios = np.divide(limits, sides) if fixed else np.divide(sorted(limits), sorted(sides))
    size = [max(1, int(side * ratios.min() + 0.5)) for side in sides]
    filled = np.full((*(limits if fixed else size)[::-1], 3), facts["fill"], np.float32)
    filled[: size[1], : size[0]] = cv2.resize(image, size)[..., ::-1]  # RGB, 0 to 255
    return np.ascontiguousarray(filled.transpose(2, 0, 1)[None]), np.tile(np.divide(size, sides), 2)


def inside(mask: np.ndarray, box: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return which pixels of an image are of an object: H x W. The mask has a probability for each
    of its cells, which divide the box; they are interpolated at the centres of pixels."""
    shares = []
    for axis, (pixels, cells) in enumerate(zip(image.shape[1::-1], mask.shape[::-1], strict=True)):
        side = max(box[axis + 2] - box[axis], 1e-6)
        places = (np.arange(pixels) + 0.5 - box[axis]) / side * cells - 0.5
        shares.append(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells))))
    return shares[1] @ mask @ shares[0].T >= 0.5


def main(source: str, target: str, least_score: str = "0.3") -> None:
    texts, detect = with_onnxruntime(Path(__file__).with_name(MODEL))
    facts = {name: json.loads(text) for name, text in texts.items()}
    if (image := cv2.imread(source)) is None:
        sys.exit(f"{source} cannot be read as an image")
    pixels, scale = prepare(image, facts)
    boxes, scores, labels, *masks = (each[0] for each in detect(pixels))
    for number, (box, score, label) in enumerate(zip(boxes / scale, scores, labels, strict=True)):
        if label >= 0 and score >= float(least_score):
            text, corners = f"{facts['class_names'][label]} {score:.2f}", box.round().astype(int)
            sys.stdout.write(f"{text} {' '.join(f'{side:.1f}' for side in box)}\n")
            for mask in masks:  # none of a detector that finds boxes alone
                image[inside(mask[number], box, image)] //= 2
            cv2.rectangle(image, corners[:2], corners[2:], (0, 200, 0), 2)
            cv2.putText(image, text, corners[:2], 0, 0.5, (0, 200, 0), 1)
    if not cv2.imwrite(target, image):
        sys.exit(f"{target} cannot be written")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) in (3, 4) else sys.exit(__doc__)
