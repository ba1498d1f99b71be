"""Distils a crop classifier's scores into matched predictions. DICOD section KD_cls, equations
1-7, docs/papers.md 5.2."""

from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from detection.crop_classifier import ClassifierTeacher, teacher_for
from detection.distillation.crop import object_crops
from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_options import DicodClassificationOptions


class DicodClassification(DistillationMethod):
    """The loss L_kd-cls. The classifier sees the object's crop of the student's augmented input;
    its logits are computed once for each object and shared by all predictions assigned to it
    (docs/papers.md 5.2)."""

    def __init__(
        self, classifier: ClassifierTeacher, *, num_classes: int, temperature: float
    ) -> None:
        """
        Args:
            classifier: A classifier with the student's classes.
            num_classes: Number of the student's classes, K. A student with K logits has sigmoids,
                one with K + 1 a softmax.
            temperature: The temperature T, > 0.
        """
        super().__init__()
        self._classifier = classifier
        self._num_classes, self._temperature = num_classes, temperature

    @classmethod
    def build(cls, options: DicodClassificationOptions, pair: Pair) -> Self:
        """
        Raises:
            ArtifactError: The classifier is missing or damaged.
            InvalidValueError: The classifier's classes differ from the student's.
        """
        num_classes = pair.student.num_classes
        classifier = teacher_for(options.classifier, pair.train_split.class_names, num_classes)
        return cls(classifier, num_classes=num_classes, temperature=options.temperature)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        del teacher
        found = student.matched_predictions
        sigmoid = found.logits.shape[1] == self._num_classes
        crops, number = object_crops(student.batch, found, self._classifier.input_size)
        with torch.no_grad():
            logits = self._classifier.logits(crops, sigmoid=sigmoid)[number]
        loss = sigmoid_scores_loss if sigmoid else softmax_scores_loss
        return balanced(loss(found.logits, logits, self._temperature), len(logits))


def softmax_scores_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """1/M * sum_k T^2 KL(p_t || p_s), p = softmax(z / T), where p_t of background is 0.

    Args:
        student_logits: M x (K + 1), background last.
        teacher_logits: M x K.
        temperature: The temperature T, > 0.
    """
    student = functional.log_softmax(student_logits / temperature, dim=1)[:, :-1]
    teacher = functional.log_softmax(teacher_logits / temperature, dim=1)
    divergence = functional.kl_div(student, teacher, reduction="sum", log_target=True)
    return temperature**2 * divergence / max(len(student), 1)


def sigmoid_scores_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """1/M * sum_k T^2/K * sum over classes of KL between (p, 1 - p), p = sigmoid(z / T).

    The paper orders the two outcomes differently for the object's class; the order does not change
    the loss.

    Args:
        student_logits: M x K.
        teacher_logits: M x K.
        temperature: The temperature T, > 0.
    """
    student, teacher = (
        functional.logsigmoid(torch.stack([logits, -logits]) / temperature)  # 2 x M x K
        for logits in (student_logits, teacher_logits)
    )
    divergence = functional.kl_div(student, teacher, reduction="sum", log_target=True)
    return temperature**2 * divergence / max(student_logits.numel(), 1)
