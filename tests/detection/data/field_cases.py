"""Annotation files as people have them, with the right outcome of each."""

import json
from typing import Any

from PIL import Image

from tests.detection.data.field_draft import (
    SIZE,
    Draft,
    add_annotation,
    case,
    change_annotation,
    change_image,
    encoded,
)

# Ids


@case("accept")
def annotation_id_0(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(id=a["id"] - 1))


@case("accept")
def annotation_ids_beyond_64_bits(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(id=a["id"] + 2**127))


@case("accept")
def image_ids_beyond_64_bits(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(image_id=a["image_id"] + 2**127))
    for document in draft.documents.values():
        for image in document["images"]:
            image["id"] += 2**127


@case("warn", "annotation ids")
def annotation_ids_missing(draft: Draft) -> None:
    draft.everywhere(lambda a: a.pop("id"))


@case("warn", "annotation ids")
def annotation_ids_twice(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(id=1))


@case("warn", "mapped")
def image_ids_as_text(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(image_id=f"img-{a['image_id']}"))
    for document in draft.documents.values():
        for image in document["images"]:
            image["id"] = f"img-{image['id']}"


@case("warn", "mapped")
def ids_as_decimal_numbers(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(image_id=float(a["image_id"])))


@case("warn", "mapped")
def category_ids_as_text(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(category_id=str(a["category_id"])))


@case("refuse", "image id 1 occurs twice")
def image_id_twice(draft: Draft) -> None:
    draft.train["images"][1]["id"] = 1


@case("refuse", "category_id is missing")
def category_id_null(draft: Draft) -> None:
    change_annotation(draft, category_id=None)


@case("refuse", "there is no image 77")
def annotation_of_an_unknown_image(draft: Draft) -> None:
    change_annotation(draft, image_id=77)


# Categories


@case("accept")
def category_ids_from_0(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(category_id=a["category_id"] - 1))
    for document in draft.documents.values():
        for category in document["categories"]:
            category["id"] -= 1


@case("refuse", "another order")
def classes_swapped_in_validation(draft: Draft) -> None:
    for category in draft.documents["val"]["categories"]:
        category["id"] = 3 - category["id"]


@case("refuse", "missing blue")
def class_missing_in_validation(draft: Draft) -> None:
    draft.documents["val"]["categories"][1]["name"] = "green"


@case("warn", "other ids")
def other_category_ids_in_validation(draft: Draft) -> None:
    for category in draft.documents["val"]["categories"]:
        category["id"] += 10
    for annotation in draft.documents["val"]["annotations"]:
        annotation["category_id"] += 10


@case("warn", "Roboflow")
def roboflow_root(draft: Draft) -> None:
    for document in draft.documents.values():
        for category in document["categories"]:
            category["supercategory"] = "things"
        document["categories"].append({"id": 0, "name": "things", "supercategory": "none"})


@case("warn", "classes have no object in a split")
def class_unused_in_training(draft: Draft) -> None:
    draft.train["annotations"] = [a for a in draft.train["annotations"] if a["category_id"] == 1]


@case("warn", "class names occur twice")
def two_classes_of_one_name(draft: Draft) -> None:
    for document in draft.documents.values():
        document["categories"][1]["name"] = "red"


@case("accept")
def class_names_are_numbers(draft: Draft) -> None:
    for document in draft.documents.values():
        for category in document["categories"]:
            category["name"] = category["id"]


@case("refuse", "there are no categories")
def categories_empty(draft: Draft) -> None:
    draft.train["categories"] = []


# Boxes


@case("warn", "no area")
def box_empty(draft: Draft) -> None:
    add_annotation(draft, bbox=[50, 33, 0, 0])


@case("refuse", "must have positive width and height")
def boxes_empty_many(draft: Draft) -> None:
    for annotation in draft.train["annotations"][:3]:
        annotation["bbox"][2] = 0


@case("warn", "below one pixel")
def box_below_a_pixel(draft: Draft) -> None:
    add_annotation(draft, bbox=[50.2, 30.1, 0.4, 0.6])


@case("warn", "the images have no objects")
def placeholder_boxes(draft: Draft) -> None:
    for number in (5, 6):
        name = f"empty-{number}.png"
        draft.files[name] = encoded(Image.new("RGB", SIZE, (number, 0, 0)), "PNG")
        draft.train["images"].append({"id": number, "file_name": name, "width": 64, "height": 48})
        add_annotation(draft, image_id=number, bbox=[0, 0, 0, 0])


@case("warn", "clipped")
def box_over_the_edge(draft: Draft) -> None:
    draft.train["annotations"][3].update(bbox=[10, 10, 60, 20])


@case("warn", "outside their image")
def box_outside(draft: Draft) -> None:
    add_annotation(draft, bbox=[70, 10, 10, 10])


@case("refuse", "are they corners")
def boxes_as_corners(draft: Draft) -> None:
    def corners(annotation: dict[str, Any]) -> None:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x, y, x + w, y + h]

    draft.everywhere(corners)


@case("refuse", "0..1")
def boxes_in_0_to_1(draft: Draft) -> None:
    def share(annotation: dict[str, Any]) -> None:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x / 64, y / 48, w / 64, h / 48]

    draft.everywhere(share)


@case("refuse", "annotation 1: bbox [4, nan, 20, 12]")
def box_nan(draft: Draft) -> None:
    change_annotation(draft, bbox=[4, float("nan"), 20, 12])


@case("refuse", "annotation 1: bbox ['4', '6', '20', '12']")
def box_text(draft: Draft) -> None:
    change_annotation(draft, bbox=["4", "6", "20", "12"])


@case("refuse", "annotation 1: bbox []")
def box_list_empty(draft: Draft) -> None:
    change_annotation(draft, bbox=[])


@case("refuse", "annotation 1: bbox [24, 6, -20, 12]")
def box_negative_width(draft: Draft) -> None:
    change_annotation(draft, bbox=[24, 6, -20, 12])


@case("accept")
def box_twice(draft: Draft) -> None:
    add_annotation(draft)


@case("warn", "more than 100 objects")
def many_boxes(draft: Draft) -> None:
    draft.train["annotations"] += [
        {"id": 100 + i, "image_id": 4, "category_id": 1, "bbox": [i % 12 * 5, i // 12 * 5, 4, 4]}
        for i in range(108)
    ]


# Fields


@case("warn", "areas are missing")
def area_missing(draft: Draft) -> None:
    draft.everywhere(lambda a: a.pop("area"))


@case("warn", "areas are missing")
def area_text(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(area=str(a["area"])))


@case("warn", "areas are missing")
def area_nan(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(area=float("nan")))


@case("accept")
def iscrowd_missing(draft: Draft) -> None:
    draft.everywhere(lambda a: a.pop("iscrowd"))


@case("warn", "iscrowd")
def iscrowd_null(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(iscrowd=None))


@case("warn", "iscrowd")
def iscrowd_false(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(iscrowd=False))


@case("refuse", "crowds")
def iscrowd_all(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(iscrowd=1))


@case("accept")
def crowd_with_rle(draft: Draft) -> None:
    rle = {"counts": [0, 64 * 48], "size": [48, 64]}
    add_annotation(draft, bbox=[0, 0, 64, 48], iscrowd=1, segmentation=rle)


@case("accept")
def extra_fields(draft: Draft) -> None:
    draft.everywhere(lambda a: a.update(score=0.5, attributes={"occluded": None}, track_id=None))


@case("refuse", "image 1 has no width")
def size_missing(draft: Draft) -> None:
    del draft.train["images"][0]["width"]


@case("refuse", "64x48 pixels, the record says 640x480")
def size_wrong(draft: Draft) -> None:
    change_image(draft, width=640, height=480)


@case("refuse", "height=0")
def size_zero(draft: Draft) -> None:
    change_image(draft, height=0)


# Documents


@case("accept")
def json_with_byte_order_mark(draft: Draft) -> None:
    draft.raw["train"] = b"\xef\xbb\xbf" + json.dumps(draft.train).encode()


@case("refuse", "not UTF-8")
def json_latin_1(draft: Draft) -> None:
    draft.raw["train"] = json.dumps(draft.train).replace("red", "gr\u00fcn").encode("latin-1")


@case("refuse", "it is empty")
def json_empty(draft: Draft) -> None:
    draft.raw["train"] = b""


@case("refuse", "not JSON")
def json_cut(draft: Draft) -> None:
    draft.raw["train"] = json.dumps(draft.train).encode()[:200]


@case("refuse", "a list")
def top_level_list(draft: Draft) -> None:
    draft.raw["train"] = b'[{"bbox": [0, 0, 1, 1]}]'


@case("refuse", '"annotations" must be a list of objects, not an object')
def annotations_by_id(draft: Draft) -> None:
    draft.train["annotations"] = {"1": {}}


@case("refuse", '"annotations" must be a list of objects and is missing')
def annotations_missing(draft: Draft) -> None:
    del draft.documents["val"]["annotations"]


@case("refuse", "no images and no annotations")
def validation_without_images(draft: Draft) -> None:
    draft.documents["val"].update(images=[], annotations=[])


@case("refuse", "no annotations")
def validation_without_annotations(draft: Draft) -> None:
    draft.documents["val"].update(annotations=[])
