"""The options of distillation methods that have many. Standard library only.

Those of other methods are beside their rows in the catalogue,
`searchd.domain.distillation_methods`. An option outside its range raises InvalidValueError.
"""

from dataclasses import dataclass
from typing import Literal

from searchd.domain.errors import InvalidValueError
from searchd.domain.method_description import AdapterOptions, at_least_zero, fraction, positive


@dataclass(frozen=True, slots=True, kw_only=True)
class CkdOptions:
    """Options of ckd (G-DetKD 4.2, docs/papers.md 3.2)."""

    temperature: float = 0.07
    """Temperature gamma of the critic, above 0."""
    projection_channels: int = 128
    """Output channels of the linear projection f, at least 1."""
    queue_size: int = 80 * 1024
    """Largest number of teacher embeddings of earlier batches that serve as negatives, at least 0.
    The default is the paper's; 0 disables the queue. One epoch's embeddings are never exceeded:
    older ones are of the same regions."""
    iou_threshold: float = 0.5
    """IoU in [0, 1] above which two regions of the same image are not negatives of each other. The
    default is the paper's; 1 keeps all negatives."""

    def __post_init__(self) -> None:
        positive(self, "temperature", "projection_channels")
        at_least_zero(self, "queue_size")
        fraction(self, "iou_threshold")


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritingOptions:
    """Options of inheriting (ICD B, docs/papers.md 4.4)."""

    laterals: Literal["least_squares", "copied"] = "least_squares"
    """How the neck's convolutions that read the backbone start: "least_squares" (default) with the
    linear maps by which they give, from the student's features, what the teacher's give; "copied"
    as in the paper, the teacher's, and the student's own where the backbones' widths differ."""
    start_images: int = 128
    """Number of training images, at least 1, to which they are fitted before the first step. The
    default is 128."""

    def __post_init__(self) -> None:
        positive(self, "start_images")


@dataclass(frozen=True, slots=True, kw_only=True)
class IcdOptions(AdapterOptions):
    """Options of icd (ICD sections 3 and A, docs/papers.md 4)."""

    num_heads: int = 8
    """Number of attention heads of the decoder. It must divide 256, the channels of all heads
    together."""
    fake_per_object: int = 5
    """Number of fake instances per real object in the auxiliary task, at least 0
    (docs/papers.md 4.2)."""
    max_instances: int | None = None
    """Largest number of real and fake instances per image, at least 1. None (default): 100 for
    two-stage students and 300 for one-stage ones."""
    warmup_iterations: int | None = None
    """Number of iterations at the start, at least 0, in which the distillation loss trains the
    student's value projection and not the student (docs/papers.md 4.4). Those of its ancestors
    count, as long as the adapters are inherited. None (default): the paper's 1000, or a tenth of a
    training that is shorter than 10,000 iterations."""
    decoder_only_iterations: int = 0
    """Number of iterations of the auxiliary task before the training starts, at least 0; the
    student does not change in them. The paper uses 6000 for small data sets."""
    learning_rate: float = 1e-4
    """Learning rate of the AdamW optimizer of the method's own modules, above 0."""
    normalise_values: bool = True
    """Whether a LayerNorm without parameters is applied to the value maps of both sides, as in the
    released code (docs/papers.md 4.3)."""

    def __post_init__(self) -> None:
        AdapterOptions.__post_init__(self)
        positive(self, "num_heads", "learning_rate")
        at_least_zero(self, "fake_per_object", "warmup_iterations", "decoder_only_iterations")
        if 256 % self.num_heads:
            raise InvalidValueError(f"num_heads={self.num_heads} must divide 256")
        if self.max_instances is not None and self.max_instances < 1:
            raise InvalidValueError(f"max_instances={self.max_instances} must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DicodClassificationOptions:
    """Options of dicod_classification, DICOD's KD_cls (docs/papers.md 5.2)."""

    classifier: str
    """Folder or URI of a crop classifier, as `searchd tools train-classifier` writes it.
    Required."""
    temperature: float = 2.0
    """Temperature T of both distributions, above 0. The default is the paper's."""

    def __post_init__(self) -> None:
        positive(self, "temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class DicodLocalisationOptions:
    """Options of dicod_localisation, DICOD's KD_loc and L_loc (docs/papers.md 5.3)."""

    classifier: str
    """Folder or URI of a crop classifier, as `searchd tools train-classifier` writes it.
    Required."""
    crop_weight: float = 1.0
    """Weight of L_loc, which compares the pooled crops, at least 0; 0 disables it. `crop_weight`
    and `feature_weight` must not both be 0."""
    feature_weight: float = 1.0
    """Weight of KD_loc, which compares features of the classifier's first convolution, at least 0;
    0 disables it."""
    crop_size: int = 112
    """Side in pixels of the crop that is sampled from a box, at least 1. The default is the
    paper's."""
    crop_pooling: int = 4
    """Side in pixels to which crops are pooled before L_loc compares them, at least 1. The default
    is that of the released code."""
    feature_pooling: int = 8
    """Side in cells to which features are pooled before KD_loc compares them, at least 1. The
    default is that of the released code."""

    def __post_init__(self) -> None:
        at_least_zero(self, "crop_weight", "feature_weight")
        positive(self, "crop_size", "crop_pooling", "feature_pooling")
        if not (self.crop_weight or self.feature_weight):
            raise InvalidValueError("crop_weight and feature_weight must not both be 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class FgdOptions(AdapterOptions):
    """Options of fgd (docs/papers.md 6). None: the published value for the student's kind of
    head."""

    temperature: float | None = None
    """Temperature T of the attention maps, above 0. None (default): 0.5, or 0.8 for anchor-free
    students (FCOS)."""
    foreground: float | None = None
    """Weight alpha of the features inside boxes, at least 0. None (default): 1e-3 for one-stage
    students, 5e-5 for two-stage ones."""
    background: float | None = None
    """Weight beta of the features outside boxes, at least 0. None (default): 5e-4 for one-stage
    students, 2.5e-5 for two-stage ones."""
    attention: float | None = None
    """Weight gamma of the attention maps, at least 0. None (default): 1e-3 for one-stage students,
    5e-5 for two-stage ones."""
    relation: float | None = None
    """Weight lambda of the global relations, at least 0. None (default): 5e-6 for one-stage
    students, 5e-7 for two-stage ones."""

    def __post_init__(self) -> None:
        AdapterOptions.__post_init__(self)
        positive(self, "temperature")
        at_least_zero(self, "foreground", "background", "attention", "relation")


@dataclass(frozen=True, slots=True, kw_only=True)
class DkdOptions:
    """Options of dkd (docs/papers.md 6.1)."""

    target: float = 1.0
    """Weight alpha of the right class against all others, at least 0."""
    others: float = 0.25
    """Weight beta of the other classes among each other, at least 0. The default is the authors'
    for detectors."""
    temperature: float = 1.0
    """Temperature T of both softmaxes, above 0."""

    def __post_init__(self) -> None:
        positive(self, "temperature")
        at_least_zero(self, "target", "others")
        if not (self.target or self.others):
            raise InvalidValueError("target and others must not both be 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistOptions:
    """Options of dist (docs/papers.md 6.1)."""

    inter: float = 1.0
    """Weight beta of the correlation over the classes of a region, at least 0."""
    intra: float = 1.0
    """Weight gamma of the correlation over the regions of a class, at least 0."""
    temperature: float = 1.0
    """Temperature T of both softmaxes, above 0."""

    def __post_init__(self) -> None:
        positive(self, "temperature")
        at_least_zero(self, "inter", "intra")
        if not (self.inter or self.intra):
            raise InvalidValueError("inter and intra must not both be 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LdOptions:
    """Options of ld (docs/papers.md 6.2)."""

    temperature: float = 10.0
    """Temperature T of both softmaxes over distances, above 0. The default is the paper's."""
    valuable: float = 1.0
    """Weight of the places near those that are trained to find an object, over the weight of those
    themselves, at least 0; 0 leaves them out. The default is the paper's."""
    valuable_ratio: float = 0.25
    """Smallest distance-IoU of such a place with the object, in [0, 1], as a share gamma of the
    smallest among the places that are trained to find it. The default is the paper's."""

    def __post_init__(self) -> None:
        positive(self, "temperature")
        at_least_zero(self, "valuable")
        fraction(self, "valuable_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrosskdOptions:
    """Options of crosskd (docs/papers.md 6.3)."""

    teacher_convs: int = 1
    """Number of convolutions of the teacher's towers, at least 0, that the student's features pass
    before the teacher's predictor. The student's features come from as many convolutions before the
    end of its own towers, or from its neck. The default is the paper's."""
    boxes: float = 1.0
    """Weight of the boxes over the weight of the class scores, at least 0."""

    def __post_init__(self) -> None:
        at_least_zero(self, "teacher_convs", "boxes")


@dataclass(frozen=True, slots=True, kw_only=True)
class BckdOptions:
    """Options of bckd (docs/papers.md 6.4)."""

    boxes: float = 4.0
    """Weight of the boxes over the weight of the class scores, at least 0; 0 leaves them out. The
    default is the authors'."""

    def __post_init__(self) -> None:
        at_least_zero(self, "boxes")
