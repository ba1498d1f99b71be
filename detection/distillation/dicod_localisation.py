"""Distils localisation by comparing crops of boxes. DICOD section KD_loc, equations 8-11,
docs/papers.md 5.3."""

from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from detection.crop_classifier import ClassifierTeacher, teacher_for
from detection.distillation.crop import crop, object_crops
from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_options import DicodLocalisationOptions


class DicodLocalisation(DistillationMethod):
    """The loss crop_weight * L_loc + feature_weight * L_kd-loc.

    It compares crops of predicted boxes with crops of the objects' boxes: their pixels (L_loc), and
    the outputs of the classifier's first convolution l0 before BN and ReLU (L_kd-loc). Gradient
    flows to the predicted boxes alone.

    All M matched predictions count (the paper has no limit), in one batch. At 112 pixels and 64
    channels a prediction takes about 1 MB, and its gradient the same.
    """

    def __init__(self, classifier: ClassifierTeacher, options: DicodLocalisationOptions) -> None:
        super().__init__()
        self._classifier, self._options = classifier, options

    @classmethod
    def build(cls, options: DicodLocalisationOptions, pair: Pair) -> Self:
        """
        Raises:
            ArtifactError: The classifier is missing or damaged.
            InvalidValueError: The classifier's classes differ from the student's.
        """
        names, num_classes = pair.train_split.class_names, pair.student.num_classes
        return cls(teacher_for(options.classifier, names, num_classes), options)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        del teacher
        found, options = student.matched_predictions, self._options
        predicted = crop(student.batch, found.boxes, found.image, options.crop_size)
        objects, number = object_crops(student.batch, found, options.crop_size)
        loss = predicted.new_zeros(())
        if options.crop_weight:
            target = functional.adaptive_avg_pool2d(objects, options.crop_pooling)[number]
            loss = loss + options.crop_weight * pooled_difference(predicted, target)
        if options.feature_weight:
            features = self._classifier.first_features(predicted)
            target = self._object_features(objects)[number]
            loss = loss + options.feature_weight * pooled_difference(features, target)
        return balanced(loss, len(predicted))

    @torch.no_grad()
    def _object_features(self, crops: Tensor) -> Tensor:
        features = self._classifier.first_features(crops)
        return functional.adaptive_avg_pool2d(features, self._options.feature_pooling)


def pooled_difference(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over M, C, p, p of |AP(predicted) - target|, with adaptive average pooling AP.

    Args:
        predicted: M x C x s x s, crops or features of crops.
        target: M x C x p x p, already pooled.
    """
    pooled = functional.adaptive_avg_pool2d(predicted, target.shape[-1])
    return (pooled - target).abs().sum() / max(target.numel(), 1)
