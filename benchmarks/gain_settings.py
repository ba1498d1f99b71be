"""What the table of gains compares: data, detectors, rows and goals, registered before any run.

Defaults are chosen on validation images of seed `CHOOSING_SEED` and judged on test images of the
other seeds; every figure of the table is of the test split, which chose nothing. Imports no
detector.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any, Literal

from benchmarks.paired_runs import G_DETKD, detector
from searchd.domain.actions import ChannelImportance
from searchd.domain.detector import Detector, Family
from searchd.domain.distillation_methods import JOINT_DETNAS, MethodName
from searchd.domain.resolution import Resolution

SEEDS = (0, 1, 2)
CHOOSING_SEED = 0
TRAIN_SEED, TEST_SEED = 11, 12
"""Seeds of `shapes`: of train and validation images, and of test images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A data set and the size at which its images are seen."""

    resolution: Resolution
    num_classes: int
    num_train: int | None = None
    """Number of train, validation and test images that are drawn. None: not `shapes`."""
    num_validation: int = 128
    num_test: int = 384
    difficulty: float = 0.5


DATA: Mapping[str, Data] = {
    "shapes-96": Data(resolution=Resolution(96, 96), num_classes=4, num_train=256),
    "bccd": Data(resolution=Resolution(160, 120), num_classes=3),
    "shapes-128": Data(resolution=Resolution(128, 128), num_classes=4, num_train=256),
}

BATCH_SIZE, RATE, MAX_GRAD_NORM, WARMUP = 8, 0.05, 5.0, 60
"""Of the trainings of students and teachers before distillation; the clip of all trainings."""
LENGTHS: Mapping[str, tuple[int, float]] = {"stage": (8, 0.02), "trial": (3, 0.01)}
"""Epochs and learning rate of a row: of a distillation's stage, and of a search's trial."""
NUM_TRIALS = 4
"""Number of consecutive trials of a row that compares teacher policies."""
CLASSIFIER_EPOCHS = 20
"""Training of DICOD's crop classifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Settings of the searches and of the edits that `benchmarks.fidelity` draws."""

    num_trials: int = 10
    frozen_trials: int = 1
    prune_fraction: float = 0.1
    min_channels: int = 3
    bn_l1: float = 1e-5


SEARCH = SearchSettings()
PRUNED, PRUNED_TO, TAYLOR_IMAGES = "same", 0.65, 256
"""The detector whose channels are pruned to compare rankings, the share of its MACs that is left,
and the number of images that rank by Taylor, which is that of trials."""

STUDENT_EPOCHS = {Family.FASTER_RCNN: 24, Family.RETINANET: 48, Family.GFL: 24}
"""Training of a student before it is taught; it is half-trained. RetinaNet learns more slowly."""
TEACHER_EPOCHS = 40
TEACHERS: Mapping[str, tuple[int, int]] = {
    "S": (8, 24),
    "M": (12, 24),
    "L": (16, 32),
    "XL": (32, 32),
    "same": (16, 16),
    "GFL": (16, 32),
}
"""Width of a teacher's backbone, and of its neck. The student has 6 and 16; `same` has its head."""
_OTHER_TEACHERS = {"GFL": Family.GFL}
"""Families of the teachers that are no Faster R-CNNs."""


def student(family: Family, data: Data) -> Detector:
    """Return the student of a family."""
    found = replace(detector(family, 6), neck_channels=16)
    return replace(found, num_classes=data.num_classes)


def teacher(name: str, data: Data) -> Detector:
    """Return a teacher."""
    width, neck = TEACHERS[name]
    family = _OTHER_TEACHERS.get(name, Family.FASTER_RCNN)
    found = replace(detector(family, width), neck_channels=neck)
    return replace(found, num_classes=data.num_classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """One method of a row; what is not given has the shipped default."""

    name: MethodName
    weight: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


Policy = Literal["none", "fixed", "random", "nearest", "dynamic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A training of a student, which is one row of the table."""

    name: str
    against: str | None
    """Name of the row that it is compared with."""
    methods: tuple[Taught, ...] = ()
    teachers: tuple[str, ...] = ()
    """The teachers, which teach at once by the mean of their losses."""
    family: Family = Family.FASTER_RCNN
    length: str = "stage"
    after: str | None = None
    """Name of the row whose student it continues. None: the half-trained student."""
    rate: float = 1.0
    """Learning rate as a share of that of `LENGTHS`."""
    keeps_momentum: bool = False
    """Whether the optimizer continues with the momentum of the row that `after` names."""
    policy: Policy | None = None
    """Policy by which each of `NUM_TRIALS` trials gets its teacher. None: one training."""
    order: Literal["chosen", "reverse"] | None = None
    """The row is that of the order which the adaptation costs choose, or of its reverse."""
    search: Literal["joint", "random search", "pruned"] | None = None
    """The row is the best of a search, or the base pruned to the MACs of the best of `joint`."""
    instead_of: str | None = None
    """Name of the row of the shipped default that this one would replace."""
    pruned_by: ChannelImportance | None = None
    """The row is the detector `PRUNED`, pruned by this importance to `PRUNED_TO` of its MACs and
    trained for a stage without teacher. None: nothing is pruned."""
    score_of: str | None = None
    """Name of a search's row, whose score on test images (Joint-DetNAS's H) is this row's AP."""


NONE, JOINT, GDETKD = "none", "Joint-DetNAS's three", "SGFI + CKD"
INHERITED = "ICD + inheriting"
RETINANET, GFL = "RetinaNet: ", "GFL: "


BATCH_OPTIONS: Mapping[MethodName, Mapping[str, Any]] = {MethodName.CKD: {"queue_size": 4096}}
"""Options that stand for the shipped defaults where those count batches of the papers: CKD's queue
holds ten batches of 16 images there, and about as many of 8 images with 64 regions here."""


def _taught(method: Taught | MethodName) -> Taught:
    found = method if isinstance(method, Taught) else Taught(name=method)
    return replace(found, options={**BATCH_OPTIONS.get(found.name, {}), **found.options})


def _row(name: str, *methods: Taught | MethodName, against: str | None = NONE, **rest: Any) -> Row:
    taught = tuple(map(_taught, methods))
    return Row(name=name, against=against, methods=taught, **{"teachers": ("L",)} | rest)


def _papers() -> Iterator[Row]:
    name = MethodName
    yield Row(name=NONE, against=None)
    yield _row(JOINT, *JOINT_DETNAS)
    yield _row(GDETKD, name.SGFI, name.CKD)
    yield _row("sgfi", name.SGFI)
    yield _row("ckd", name.CKD)
    yield _row("feature_matching", name.FEATURE_MATCHING)
    yield _row("class_aware_localisation", name.CLASS_AWARE_LOCALISATION)
    yield _row("localisation", name.LOCALISATION)
    yield _row("DICOD's two", name.DICOD_CLASSIFICATION, name.DICOD_LOCALISATION)
    yield _row("icd", name.ICD)
    yield _row("SGFI + CKD + prediction", *G_DETKD[True])
    yield _row(INHERITED, name.ICD, name.INHERITING, teachers=("same",))


IN_PAPERS = (
    *(MethodName.SGFI, MethodName.CKD, MethodName.FEATURE_MATCHING, MethodName.ICD),
    *(MethodName.CLASS_AWARE_LOCALISATION, MethodName.LOCALISATION),
)
ONE_STAGE_PAIRS = (MethodName.LD, MethodName.CROSSKD, MethodName.BCKD)
"""Methods between one-stage detectors."""
BEYOND = (MethodName.PKD, MethodName.DKD, MethodName.DIST, *ONE_STAGE_PAIRS)
"""Methods that are not of the five papers, nor of those that they compare with."""
NEED_SAME_HEAD = (MethodName.HEAD_TRANSFER, MethodName.INHERITING)


def _methods() -> Iterator[Row]:
    for name in MethodName:
        if name not in (*IN_PAPERS, *BEYOND, MethodName.PREDICTION_CONVERSION):
            yield _row(name, name, teachers=("same" if name in NEED_SAME_HEAD else "L",))


def _beyond() -> Iterator[Row]:
    yield from (_row(name, name) for name in BEYOND if name not in ONE_STAGE_PAIRS)
    yield _row(f"{JOINT}, same head", *JOINT_DETNAS, teachers=("same",))
    yield _row(f"{JOINT} + inheriting", *JOINT_DETNAS, MethodName.INHERITING, teachers=("same",))
    yield _row(RETINANET + "pkd", MethodName.PKD, against=RETINANET + NONE, family=Family.RETINANET)
    yield Row(name=GFL + NONE, against=None, family=Family.GFL)
    for name in (*ONE_STAGE_PAIRS, MethodName.PKD):
        yield _row(GFL + name, name, against=GFL + NONE, family=Family.GFL, teachers=("GFL",))


def _alternatives() -> Iterator[Row]:
    """Other weights and options. One that gains in place of a default becomes the default, if it
    is the best of its method by validation AP of the choosing seed and gains on the other seeds.
    Joint-DetNAS's methods are shipped together, so for them the three must gain by it too."""
    name = MethodName
    weights: Mapping[MethodName, tuple[float, ...]] = {
        name.FEATURE_IMITATION: (0.03, 0.3, 1),
        name.FGD: (10, 100, 1000),
        name.MGD: (10, 100, 1000),
        name.CWD: (1, 20),
        name.CKD: (0.1, 0.3, 3),
        name.SGFI: (0.3, 3),
        name.CLASSIFICATION: (0.3, 1),
        name.LOCALISATION: (3, 10),
        name.CLASS_AWARE_LOCALISATION: (3, 10),
        name.DICOD_CLASSIFICATION: (0.1, 1),
        name.DICOD_LOCALISATION: (0.05, 0.5),
        name.PROPOSAL_FEATURE: (0.3, 3),
        name.PKD: (2, 20),
        name.DKD: (3, 10),
        name.DIST: (0.3, 3),
    }
    options: tuple[tuple[MethodName, str, Any], ...] = (
        (name.ICD, "warmup_iterations", 1000),
        (name.ICD, "decoder_only_iterations", 100),
        (name.FEATURE_IMITATION, "mask", "ground_truth"),
    )
    for method, option, value in options:
        title = value if option == "mask" else f"{option} {value}"
        taught = Taught(name=method, options={option: value})
        yield _row(f"{method}, {title}", taught, instead_of=method.value)
    copied = Taught(name=name.INHERITING, options={"laterals": "copied"})
    for row, *others in ((name.INHERITING.value,), (INHERITED, name.ICD)):
        title = f"{row}, laterals copied"
        yield _row(title, *others, copied, teachers=("same",), instead_of=row)
    for method, values in weights.items():
        for weight in values:
            taught = Taught(name=method, weight=weight)
            yield _row(f"{method}, weight {weight:g}", taught, instead_of=method.value)
    three = (
        replace(method, weight=1) if method.name is name.CLASSIFICATION else method
        for method in map(_taught, JOINT_DETNAS)
    )
    yield _row(f"{JOINT}, classification weight 1", *three, instead_of=JOINT)


def _one_stage() -> Iterator[Row]:
    name = MethodName
    yield Row(name=RETINANET + NONE, against=None, family=Family.RETINANET)
    for methods in (
        (name.PREDICTION_CONVERSION,),
        (name.SGFI, name.CKD),
        (name.SGFI,),
        (name.CKD,),
        (name.FEATURE_MATCHING,),
        (name.PROPOSAL_FEATURE,),
        (name.CWD,),
        (name.ICD,),
    ):
        title = GDETKD if len(methods) > 1 else methods[0]
        yield _row(RETINANET + title, *methods, against=RETINANET + NONE, family=Family.RETINANET)


def _teachers() -> Iterator[Row]:
    """Policies of the teacher over consecutive trials; each goes on from the best by validation."""
    for policy in ("none", "fixed", "random", "nearest", "dynamic"):
        against = None if policy == "none" else "none, trials"
        name = "none, trials" if policy == "none" else f"{policy} teacher"
        yield _row(
            name, *JOINT_DETNAS, against=against, policy=policy, teachers=("S", "M", "L"),
            length="trial",
        )  # fmt: skip


def _stage(name: str, against: str, after: str | None, *teachers: str) -> Row:
    methods = (MethodName.FEATURE_MATCHING,) if teachers else ()
    return _row(name, *methods, against=against, teachers=teachers, after=after)


def _first(teacher: str) -> str:
    return "feature_matching" if teacher == "L" else teacher


def _orders() -> Iterator[Row]:
    """Sequences of one to three teachers, by feature matching (MTPD)."""
    yield from (_stage(name, NONE, None, name) for name in ("S", "M"))
    two, three = "none > none", "none > none > none"
    yield _stage(two, NONE, NONE)
    yield _stage("L > L", two, "feature_matching", "L")
    for first, second in permutations(("S", "M", "L"), 2):
        yield _stage(f"{first} > {second}", two, _first(first), second)
    yield Row(name="chosen order of two", against=two, order="chosen")
    yield Row(name="reverse of the chosen order", against=two, order="reverse")
    for both in (("S", "L"), ("M", "L")):
        together = " + ".join(both)
        yield _stage(together, NONE, None, *both)
        yield _stage(f"{together}, twice", two, together, *both)
    yield _stage(three, two, two)
    yield _stage("L > L > L", three, "L > L", "L")
    for order in permutations(("S", "M", "L"), 3):
        yield _stage(" > ".join(order), three, " > ".join(order[:2]), order[2])


def _gap() -> Iterator[Row]:
    """Growing gaps between the student and the last teacher; the first teacher is S or M."""
    yield _stage("M > M", "none > none", "M", "M")
    yield _stage("XL", NONE, None, "XL")
    yield _stage("XL > XL", "none > none", "XL", "XL")
    yield _stage("S > XL", "none > none", "S", "XL")
    yield _stage("M > XL", "none > none", "M", "XL")


def _restarts() -> Iterator[Row]:
    """Second stages that restart at half the rate of the first, or with its momentum. The shipped
    ones restart at the same rate with none."""
    two = "none > none"
    for name, after, *teachers in (
        (two, NONE), ("L > L", "feature_matching", "L"), ("S > L", "S", "L"),
    ):  # fmt: skip
        row = _stage(name, name, after, *teachers)
        yield replace(row, name=f"{name}, half rate", rate=0.5)
        if name != "S > L":  # its optimizer has the adapters of another teacher
            yield replace(row, name=f"{name}, momentum kept", keeps_momentum=True)


def _search() -> Iterator[Row]:
    """A search with dynamic teachers and all edits; the base pruned at once to the MACs of its
    best and trained as long, with and without L; and scores of searches with equal trials."""
    taught = tuple(Taught(name=name) for name in JOINT_DETNAS)
    common: dict[str, Any] = {"length": "trial", "teachers": ("S", "M", "L")}
    yield Row(name="joint", against="prune only", methods=taught, search="joint", **common)
    yield Row(name="pipeline", against="prune only", methods=taught, search="pruned", **common)
    yield Row(name="prune only", against=None, search="pruned", length="trial")
    yield Row(name="random search", against=None, methods=taught, search="random search", **common)
    yield Row(name="joint, score", against="random search, score", score_of="joint")
    yield Row(name="random search, score", against=None, score_of="random search")


def _importance() -> Iterator[Row]:
    """Three rankings of channels, before the same training."""
    for importance in ChannelImportance:
        against = (
            None if importance is ChannelImportance.GAMMA else _pruned(ChannelImportance.GAMMA)
        )
        yield Row(name=_pruned(importance), against=against, pruned_by=importance)


def _pruned(importance: ChannelImportance) -> str:
    return f"pruned by {importance}"


SECTIONS: Mapping[str, tuple[str, tuple[Row, ...]]] = {
    "papers": ("The papers' combinations", tuple(_papers())),
    "methods": ("The other methods, alone", tuple(_methods())),
    "beyond": ("Later methods", tuple(_beyond())),
    "one-stage": ("One-stage students", tuple(_one_stage())),
    "teachers": ("Teacher policies, over four trials", tuple(_teachers())),
    "orders": ("Orders of teachers", tuple(_orders())),
    "gap": ("Larger teachers", tuple(_gap())),
    "restarts": ("Restarts of the second stage", tuple(_restarts())),
    "search": ("Searches, at equal MACs or equal trials", tuple(_search())),
    "importance": ("Importance of channels, at equal MACs", tuple(_importance())),
    "alternatives": ("Other weights and options", tuple(_alternatives())),
}
"""The rows by section, with each section's title. Rows run in this order."""
ROWS: Mapping[str, Row] = {row.name: row for _, rows in SECTIONS.values() for row in rows}
_LATER = ("beyond", "one-stage", "teachers", "orders", "alternatives", "gap", "restarts")
_CHOOSING = ("alternatives", "restarts")
"""Sections that choose defaults, on one data set."""
PLAN: tuple[tuple[str, str], ...] = (
    ("shapes-96", "papers"),
    ("shapes-96", "methods"),
    ("bccd", "papers"),
    *(("shapes-96", name) for name in _LATER),
    *(("bccd", name) for name in SECTIONS if name not in ("papers", "importance", *_CHOOSING)),
    *(("shapes-128", name) for name in SECTIONS if name not in ("importance", *_CHOOSING)),
    ("shapes-96", "search"),
    ("shapes-96", "importance"),
)
"""Sections in the order in which they run: the most telling first."""
