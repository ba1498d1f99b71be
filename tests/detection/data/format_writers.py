"""Writes the good data set of `field_draft` in the formats and layouts of annotation tools."""

import json
from pathlib import Path
from typing import Any

from tests.detection.data.field_draft import BOXES, SIZE, drawn, encoded

NAMES = {1: "red", 2: "blue"}
SPLITS = ("train", "val")
WIDTH, HEIGHT = SIZE


def images_of(split: str) -> list[int]:
    return sorted({image for image, _, _ in BOXES[split]})


def boxes_of(split: str, image: int) -> list[tuple[str, list[int]]]:
    return [(NAMES[category], box) for i, category, box in BOXES[split] if i == image]


def write_image(path: Path, split: str, image: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(drawn(split, image), "PNG"))


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def yolo_lines(split: str, image: int, names: tuple[str, ...] = ("red", "blue")) -> str:
    lines = [
        f"{names.index(name)} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}"
        for name, (x, y, w, h) in boxes_of(split, image)
    ]
    return "\n".join(lines) + "\n"


def yolo_ultralytics(folder: Path) -> None:
    """images/train and labels/train, with a relative path as in Ultralytics' own files."""
    for split in SPLITS:
        for image in images_of(split):
            write_image(folder / "images" / split / f"{image}.png", split, image)
            write_text(folder / "labels" / split / f"{image}.txt", yolo_lines(split, image))
    text = f"path: ../{folder.name}\ntrain: images/train\nval: images/val\ntest:\n"
    write_text(folder / "data.yaml", text + "names:\n  0: red\n  1: blue\n")


def yolo_roboflow(folder: Path) -> None:
    """train/images and train/labels, with Roboflow's ../ in front."""
    for split, name in (("train", "train"), ("val", "valid")):
        for image in images_of(split):
            write_image(folder / name / "images" / f"{image}.png", split, image)
            write_text(folder / name / "labels" / f"{image}.txt", yolo_lines(split, image))
    text = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['red', 'blue']\n"
    write_text(folder / "data.yaml", text)


def yolo_lists(folder: Path) -> None:
    """train.txt and val.txt with relative paths."""
    yolo_ultralytics(folder)
    for split in SPLITS:
        lines = [f"./images/{split}/{image}.png" for image in images_of(split)]
        write_text(folder / f"{split}.txt", "\n".join(lines))
    write_text(folder / "data.yaml", "train: train.txt\nval: val.txt\nnames: [red, blue]\n")


def yolo_darknet(folder: Path) -> None:
    """CVAT's export "YOLO 1.1": obj.data, obj.names, and labels beside the images."""
    for split in SPLITS:
        lines = []
        for image in images_of(split):
            name = f"obj_{split}_data/{image}.png"
            write_image(folder / name, split, image)
            write_text((folder / name).with_suffix(".txt"), yolo_lines(split, image))
            lines.append(f"data/{name}")
        write_text(folder / f"{split}.txt", "\n".join(lines))
    write_text(folder / "obj.names", "red\nblue\n")
    data = "classes = 2\ntrain = data/train.txt\nvalid = data/val.txt\nnames = data/obj.names\n"
    write_text(folder / "obj.data", data + "backup = backup/\n")


def yolo_label_studio(folder: Path) -> None:
    """Label Studio's export: classes.txt in alphabetical order, images and labels."""
    yolo_ultralytics(folder)
    (folder / "data.yaml").unlink()
    for split in SPLITS:
        for image in images_of(split):
            lines = yolo_lines(split, image, ("blue", "red"))
            write_text(folder / "labels" / split / f"{image}.txt", lines)
    write_text(folder / "classes.txt", "blue\nred\n")


def voc_xml(split: str, image: int, filename: str) -> str:
    """VOC counts pixels from 1 and includes both ends."""
    objects = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin>"
        f"<ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for name, (x, y, w, h) in boxes_of(split, image)
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation><filename>{filename}</filename>{size}{objects}</annotation>"


def voc_devkit(folder: Path) -> None:
    """JPEGImages, Annotations and ImageSets/Main."""
    for split in SPLITS:
        names = [f"{split}_{image}" for image in images_of(split)]
        write_text(folder / "ImageSets/Main" / f"{split}.txt", "\n".join(names) + "\n")
        write_text(
            folder / "ImageSets/Main" / f"red_{split}.txt", "".join(f"{n}  1\n" for n in names)
        )
        for image, name in zip(images_of(split), names, strict=True):
            write_image(folder / "JPEGImages" / f"{name}.png", split, image)
            write_text(folder / "Annotations" / f"{name}.xml", voc_xml(split, image, f"{name}.png"))


def voc_beside(folder: Path) -> None:
    """An XML file beside each image, in a folder per split (Roboflow, labelImg)."""
    for split in SPLITS:
        for image in images_of(split):
            write_image(folder / split / f"{image}.png", split, image)
            write_text(folder / split / f"{image}.xml", voc_xml(split, image, "C:\\other.png"))


def cvat_images(folder: Path) -> None:
    """CVAT for images 1.1, with subsets."""
    images: list[str] = []
    for split, subset in (("train", "Train"), ("val", "Validation")):
        for image in images_of(split):
            write_image(folder / "images" / subset / f"{image}.png", split, image)
            boxes = "".join(
                f'<box label="{name}" xtl="{x}" ytl="{y}" xbr="{x + w}" ybr="{y + h}" z_order="0"/>'
                for name, (x, y, w, h) in boxes_of(split, image)
            )
            images.append(
                f'<image id="{len(images)}" name="{image}.png" subset="{subset}" width="{WIDTH}" '
                f'height="{HEIGHT}">{boxes}</image>'
            )
    text = "<annotations><version>1.1</version>" + "".join(images) + "</annotations>"
    write_text(folder / "annotations.xml", text)


def argoverse_hd(folder: Path) -> None:
    """Annotations beside the images of Argoverse 1.1, which are in a folder for each sequence."""
    for split in SPLITS:
        images = images_of(split)
        folders = [f"{split}/{hash_of}/ring_front_center" for hash_of in ("0a1b", "2c3d")]
        for image in images:
            name = f"{folders[image % 2]}/ring_front_center_{image}.jpg"
            write_image(folder / "Argoverse-1.1/tracking" / name, split, image)
        document = {
            "images": [argoverse_image(image) for image in images],
            "annotations": [
                {"id": number, "image_id": image, "category_id": category - 1, "bbox": box}
                | {"area": box[2] * box[3], "iscrowd": 0, "ignore": 0, "track": number}
                for number, (image, category, box) in enumerate(BOXES[split])
            ],
            "categories": [{"id": each - 1, "name": name} for each, name in NAMES.items()],
            "coco_subset": [0, 1],
            "coco_mapping": [0, 1],
            "sequences": ["0a1b", "2c3d"],
            "seq_dirs": folders,
        }
        write_text(folder / f"Argoverse-HD/annotations/{split}.json", json.dumps(document))
    # As published: the test split has images alone.
    test: dict[str, Any] = {"images": [], "categories": [], "sequences": [], "seq_dirs": []}
    write_text(folder / "Argoverse-HD/annotations/test-meta.json", json.dumps(test))


def argoverse_image(image: int) -> dict[str, Any]:
    """The record of an image of two sequences; even numbers are of the first."""
    record = {"id": image, "sid": image % 2, "fid": image // 2, "width": WIDTH, "height": HEIGHT}
    return record | {"name": f"ring_front_center_{image}.jpg"}


def label_studio_json(folder: Path) -> None:
    """Label Studio's own JSON: percent of the image, one task per image. It has no splits."""
    tasks: list[dict[str, Any]] = []
    for image in images_of("train"):
        write_image(folder / "images" / f"{image}.png", "train", image)
        results = [
            {
                "type": "rectanglelabels",
                "original_width": WIDTH,
                "original_height": HEIGHT,
                "value": {
                    "x": 100 * x / WIDTH,
                    "y": 100 * y / HEIGHT,
                    "width": 100 * w / WIDTH,
                    "height": 100 * h / HEIGHT,
                    "rotation": 0,
                    "rectanglelabels": [name],
                },
            }
            for name, (x, y, w, h) in boxes_of("train", image)
        ]
        tasks.append(
            {
                "id": image,
                "data": {"image": f"/data/upload/1/0a1b2c3d-{image}.png"},
                "annotations": [{"result": results}],
            }
        )
    write_text(folder / "export.json", json.dumps(tasks))
