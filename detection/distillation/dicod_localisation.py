"""Distilling localisation by what boxes show. DICOD section KD_loc, equations 8-11,
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
    """crop_weight * L_loc + feature_weight * L_kd-loc: crops by predicted boxes are to look like
    crops by the objects' own, as they are and to the classifier's first convolution l0, whose
    output is taken before BN and ReLU. Gradient reaches the predicted boxes alone.

    All M matched predictions count (the paper caps none), in one batch: at 112 pixels and 64
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
            InvalidValueError: Its classes are not the student's.
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
            wanted = functional.adaptive_avg_pool2d(objects, options.crop_pooling)[number]
            loss = loss + options.crop_weight * pooled_difference(predicted, wanted)
        if options.feature_weight:
            features = self._classifier.first_features(predicted)
            wanted = self._object_features(objects)[number]
            loss = loss + options.feature_weight * pooled_difference(features, wanted)
        return balanced(loss, len(predicted))

    @torch.no_grad()
    def _object_features(self, crops: Tensor) -> Tensor:
        features = self._classifier.first_features(crops)
        return functional.adaptive_avg_pool2d(features, self._options.feature_pooling)


def pooled_difference(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Mean over M, C, p, p of |AP(predicted) - wanted|, AP adaptive average pooling.

    Args:
        predicted: M x C x s x s, crops or features of crops.
        wanted: M x C x p x p, pooled already.
    """
    pooled = functional.adaptive_avg_pool2d(predicted, wanted.shape[-1])
    return (pooled - wanted).abs().sum() / max(wanted.numel(), 1)
