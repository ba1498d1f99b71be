"""The kinds of findings of a data set's check: what is refused, repaired and only reported."""

from detection.data.findings import Kind, Limit, Severity

_FAULT, _REPAIR, _WARNING = Severity.FAULT, Severity.REPAIR, Severity.WARNING

# Files
DOCUMENT = Kind("annotation-file", _FAULT, "annotation files cannot be used", "")
NO_OBJECTS = Kind(
    "no-objects",
    _FAULT,
    "splits have no objects",
    "a split needs at least one object that is no crowd",
)

# Categories
CATEGORY_RECORD = Kind(
    "category-record", _FAULT, "category records are not usable", "give each an id and a name"
)
CLASSES_DIFFER = Kind(
    "classes-differ",
    _FAULT,
    "splits have other classes than the train split",
    "give all splits the same categories with the same ids",
)
CATEGORY_IDS_DIFFER = Kind(
    "category-ids-differ",
    _WARNING,
    "splits have the classes of the train split under other ids",
    "classes are matched in the order of their ids",
)
CLASS_NAME_TWICE = Kind(
    "class-name-twice",
    _WARNING,
    "class names occur twice; they are separate classes",
    "merge them, or give them different names",
)
CLASS_WITHOUT_OBJECTS = Kind(
    "class-without-objects",
    _WARNING,
    "classes have no object in a split",
    "add objects, or remove the class from all annotation files",
)
ROOT_CLASS = Kind(
    "root-class",
    _WARNING,
    "classes are only the supercategory of the others (Roboflow's root) and have no objects",
    "remove the category from all annotation files",
)

# Images
IMAGE_RECORD = Kind(
    "image-record", _FAULT, "image records are not usable", "correct the image record"
)
IMAGE_ID_TWICE = Kind("image-id-twice", _FAULT, "image ids occur twice", "give each image its own")
IMAGE_NAME = Kind("image-name", _FAULT, "image names are not usable", "")
IMAGE_MISSING = Kind("image-missing", _FAULT, "images are missing", "", Limit.UNREADABLE)
IMAGE_UNREADABLE = Kind(
    "image-unreadable",
    _FAULT,
    "images cannot be read",
    "replace the file, or remove the image",
    Limit.UNREADABLE,
)
IMAGE_SIZE = Kind(
    "image-size",
    _FAULT,
    "images have another size than their record says",
    "correct width and height, and check that the boxes are of this image",
)
IMAGE_ORIENTATION = Kind(
    "image-orientation",
    _FAULT,
    "images have the size of their record only without their EXIF orientation",
    "store the pixels as they are shown and remove the EXIF orientation, or correct the record",
)
IMAGE_TAIL = Kind(
    "image-tail-missing",
    _REPAIR,
    "images miss their last bytes; their pixels were read",
    "save the image again",
)
IMAGE_BACKSLASHES = Kind(
    "image-name-backslashes",
    _REPAIR,
    "image names have backslashes; they were read as slashes",
    "write / in file_name",
)
IMAGE_DEEP = Kind(
    "image-16-bit",
    _WARNING,
    "images have 16 bits per channel; the upper 8 are used",
    "stretch the values to the full range if the image is dark",
)
IMAGE_FILE_TWICE = Kind(
    "image-file-twice", _WARNING, "image files occur under two ids", "keep one image record"
)
IMAGE_COPY = Kind(
    "image-copy", _WARNING, "images are copies of another image of the split", "keep one of them"
)
SPLITS_OVERLAP = Kind(
    "splits-overlap",
    _WARNING,
    "images are in two splits; the AP of the second is too high",
    "keep each image in one split",
)
IMAGES_WITHOUT_OBJECTS = Kind(
    "images-without-objects",
    _WARNING,
    "images have no object; training leaves them out unless training.use_empty_images is true, "
    "evaluation uses them",
    "set training.use_empty_images to true if they are meant as background",
)
FRAME = Kind(
    "frame",
    _WARNING,
    "images cannot be placed in their sequence, and count as single images",
    "give each image of a video its own frame_id, a whole number",
)
MANY_BOXES = Kind(
    "many-boxes",
    _WARNING,
    "images have more than 100 objects; COCO AP uses at most 100 detections of an image",
    "cut the images into tiles to measure all objects",
)

# Annotations
ANNOTATION_ID = Kind(
    "annotation-ids",
    _REPAIR,
    "annotation ids are missing, not whole numbers, or occur twice; they are renumbered",
    "nothing to do",
)
IDS_MAPPED = Kind(
    "ids-mapped",
    _REPAIR,
    "ids are text or decimal numbers; they are mapped",
    "nothing to do",
)
ANNOTATION_CROWD = Kind(
    "iscrowd",
    _REPAIR,
    "iscrowd values are null, booleans or text; they are read as 0 or 1",
    "nothing to do",
)
ANNOTATION_AREA = Kind(
    "area",
    _REPAIR,
    "areas are missing or not positive numbers; width x height is used",
    "nothing to do",
)
PLACEHOLDER = Kind(
    "placeholder-box",
    _REPAIR,
    "boxes 0, 0, 0, 0 of images without other objects are left out; the images have no objects",
    "nothing to do",
)
BOX_CLIPPED = Kind(
    "box-over-edge",
    _REPAIR,
    "boxes reach over the edge of their image and are clipped",
    "clip them",
)
BOX_EMPTY = Kind(
    "box-empty", _REPAIR, "boxes have no area and are left out", "remove them", Limit.EMPTY
)
BOX_BELOW_PIXEL = Kind(
    "box-below-pixel",
    _REPAIR,
    "boxes have a side below one pixel and are left out",
    "remove them",
    Limit.EMPTY,
)
BOX_OUTSIDE = Kind(
    "box-outside",
    _REPAIR,
    "boxes are outside their image and are left out",
    "check the image's size and the box",
    Limit.EMPTY,
)
BOX_NUMBERS = Kind(
    "box-numbers",
    _FAULT,
    "boxes are not four finite numbers",
    "give x, y, width, height in pixels",
    Limit.FAULTY,
)
BOX_NEGATIVE = Kind(
    "box-negative",
    _FAULT,
    "boxes have a negative width or height",
    "give x, y, width, height in pixels",
    Limit.FAULTY,
)
MASK = Kind(
    "mask",
    _WARNING,
    "segmentations cannot be read; their objects have a box and no mask",
    "give polygons in pixels (lists of x, y, x, y, ...), or an RLE of the image's height and width",
)
ANNOTATION_IMAGE = Kind(
    "annotation-image",
    _FAULT,
    "annotations are of an unknown image",
    "add the image, or remove the annotation",
    Limit.FAULTY,
)
ANNOTATION_CATEGORY = Kind(
    "annotation-category",
    _FAULT,
    "annotations are of an unknown category",
    "add the category, or correct the annotation",
    Limit.FAULTY,
)
CROWD_VALUE = Kind(
    "iscrowd-value", _FAULT, "iscrowd values are neither 0 nor 1", "give 0 or 1", Limit.FAULTY
)
BOXES_ARE_CORNERS = Kind(
    "boxes-are-corners",
    _FAULT,
    "splits have boxes that look like corners instead of x, y, width, height",
    "are they corners (x1, y1, x2, y2)? COCO needs x, y, width, height",
)
BOXES_NORMALISED = Kind(
    "boxes-in-0-to-1",
    _FAULT,
    "splits have boxes in 0..1 instead of pixels",
    "multiply them by the image's width and height; YOLO files need --data-format yolo",
)

# Other formats
LABEL_LINE = Kind(
    "label-line",
    _FAULT,
    "lines of label files are not usable",
    "write class, centre x, centre y, width, height, the last four in 0..1",
    Limit.FAULTY,
)
SOURCE_OBJECT = Kind(
    "object-record",
    _FAULT,
    "object records are not usable",
    "give a class and a box",
    Limit.FAULTY,
)
SOURCE_FILE = Kind(
    "source-file", _FAULT, "annotation files of single images cannot be read", "replace the file"
)
POLYGON = Kind(
    "polygon",
    _REPAIR,
    "polygons and rotated boxes become the boxes around them; a polygon is the object's mask, too",
    "nothing to do",
)
DIFFICULT = Kind(
    "difficult",
    _WARNING,
    "objects are marked difficult; training leaves them out and evaluation ignores them",
    "remove the mark to train on them",
)
NOT_ANNOTATED = Kind(
    "not-annotated",
    _WARNING,
    "images have no annotation and are left out",
    "annotate them, or remove them",
)
LABELS_WITHOUT_IMAGE = Kind(
    "labels-without-image",
    _WARNING,
    "label files belong to no image of a split and are not read",
    "add the image to a split, or remove the label file",
)
