"""The detectors and methods that the distillation benchmarks compare."""

from typing import Any

from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family
from searchd.domain.distillation_methods import JOINT_DETNAS, MethodName
from searchd.domain.method_fit import fitting, traits
from searchd.spec import MethodSpec

NUM_CLASSES = 4
G_DETKD = {
    True: (
        MethodName.SGFI,
        MethodName.CKD,
        MethodName.CLASSIFICATION,
        MethodName.CLASS_AWARE_LOCALISATION,
    ),
    False: (MethodName.SGFI, MethodName.CKD),
}
"""The methods of G-DetKD, by whether the student has two stages (docs/papers.md 3.3, 3.5)."""


def detector(family: Family, base_channels: int) -> Detector:
    """Return a small ResNet-18 detector for images of 64 to 128 pixels."""
    return Detector(
        architecture=preset("resnet18", base_channels=base_channels),
        num_classes=NUM_CLASSES,
        family=family,
        neck_channels=24,
        head_channels=128,
        tower_channels=24,
        tower_convs=2,
        anchor_scale=None if family is Family.RETINANET else 4.0,
        num_proposals=100,
        sampled_rois=64,
    )


def arms(
    student: Detector, teacher: Detector, classifier: str, num_iterations: int
) -> dict[str, tuple[MethodSpec, ...]]:
    """Return every method that fits the pair, and the combinations of the papers, by name.

    Args:
        student: The student.
        teacher: The teacher.
        classifier: Folder of a stored crop classifier.
        num_iterations: Length of the training; warm-ups are shortened to a tenth of it.
    """

    def method(name: MethodName) -> MethodSpec:
        options: dict[str, Any] = {}
        if name in (MethodName.DICOD_CLASSIFICATION, MethodName.DICOD_LOCALISATION):
            options["classifier"] = classifier
        if name is MethodName.ICD:
            options["warmup_iterations"] = num_iterations // 10
        if name is MethodName.CKD:
            options["queue_size"] = 4096
        return MethodSpec(name=name, options=options)

    fit = fitting(traits(student), traits(teacher))
    found: dict[str, tuple[MethodSpec, ...]] = {name.value: (method(name),) for name in fit}
    if set(JOINT_DETNAS) <= set(fit):
        found["Joint-DetNAS's three"] = tuple(map(method, JOINT_DETNAS))
    together = G_DETKD[student.family.two_stage]
    if set(together) <= set(fit):
        name = "SGFI + CKD + prediction" if student.family.two_stage else "SGFI + CKD"
        found[name] = tuple(map(method, together))
    return found
