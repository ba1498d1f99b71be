"""Gives a trained detector the classes of another data set.

Everything is kept but the layers that depend on the classes. In those, classes of the same name
keep their rows (of the classifier, and of class-specific box regressors and masks), and a softmax
keeps its background; all other rows are drawn from torch's global generator, as for a new detector.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from detection.build import Student, build_detector

_MOST_NAMES = 10
"""Largest number of classes that a note lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A layer whose outputs depend on the classes. Its rows are anchors x classes x values, and
    then the background's, if it has one."""

    name: str
    """Regular expression of the layer's name."""
    values: int = 1
    """Rows of each class, and of each anchor."""
    has_background: bool = False

    def anchors(self, rows: int, num_classes: int) -> int | None:
        """Return the number of anchors of a layer with this number of rows; None if the rows are
        not those of so many classes."""
        anchors, rest = divmod(rows - int(self.has_background), num_classes * self.values)
        return None if rest or not anchors else anchors


_LAYERS = (
    _Layer(name=r"roi_head\.bbox_head\.(\d\.)?fc_cls", has_background=True),
    _Layer(name=r"roi_head\.bbox_head\.fc_reg", values=4),  # a cascade's are of all classes
    _Layer(name=r"roi_head\.mask_head\.(\d\.)?conv_logits"),
    _Layer(name=r"bbox_head\.\w*_cls(\.\d+)?"),
)
"""Of mmdet's detectors with two stages, with anchors and with points."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transferred:
    """A detector with other classes."""

    student: Student
    notes: tuple[str, ...]
    """What was kept, dropped and drawn, a sentence for each layer."""


def are_same(known: Sequence[str] | None, wanted: Sequence[str]) -> bool:
    """Return whether two lists name the same classes in the same order."""
    return known is not None and list(map(_normal, known)) == list(map(_normal, wanted))


def with_classes(
    student: Student, known: Sequence[str] | None, wanted: Sequence[str]
) -> Transferred:
    """Return the detector for other classes.

    Args:
        student: The trained detector.
        known: Names of its classes in the order of the labels; None if they are not known, so that
            no class keeps its rows.
        wanted: Names of the classes that it is to detect, in the order of the labels. Case,
            hyphens and underscores do not count.
    """
    detector = replace(student.detector, num_classes=len(wanted))
    new = build_detector(detector).state_dict()
    changed = transfer_rows(
        student.weights, new, known, wanted, num_known=student.detector.num_classes
    )
    weights = {name: new[name] if name in changed else student.weights[name] for name in new}
    kept = f"{len(new) - len(changed)} of {len(new)} tensors are kept as they are"
    return Transferred(
        student=Student(detector=detector, weights=weights), notes=(kept, *changed.values())
    )


def transfer_rows(
    old: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    known: Sequence[str] | None,
    wanted: Sequence[str],
    *,
    num_known: int,
) -> dict[str, str]:
    """Copy the rows of classes of the same name, and of the background, into another detector.

    Args:
        old: Weights of the trained detector.
        new: Weights of the other detector, of which the layers that depend on the classes are
            changed in place.
        known: As for `with_classes`.
        wanted: As for `with_classes`.
        num_known: Number of classes of the trained detector.

    Returns:
        The tensors of layers that depend on the classes, each with a sentence on what was done.
    """
    pairs = _pairs(known or (), wanted)
    text = _text(known, wanted, pairs, num_known)
    changed = {}
    for name in new:
        layer = _layer_of(name)
        if layer is None or name not in old:
            continue
        rows = len(old[name]), len(new[name])
        anchors = layer.anchors(rows[0], num_known)
        if anchors is None or anchors != layer.anchors(rows[1], len(wanted)):
            continue  # another layer of this name
        _copy(layer, old[name], new[name], pairs, num_known)
        background = ", the background keeps its row" if layer.has_background else ""
        changed[name] = f"{name}, {rows[0]} -> {rows[1]} rows: {text}{background}"
    return changed


def _normal(name: str) -> str:
    return " ".join(re.sub(r"[-_]", " ", name.casefold()).split())


def _pairs(known: Sequence[str], wanted: Sequence[str]) -> dict[int, int]:
    """Return the label in `known` of each label in `wanted` that has the same name; a name that
    occurs twice is matched once."""
    labels: dict[str, int] = {}
    for label, name in enumerate(known):
        labels.setdefault(_normal(name), label)
    found = ((label, labels.pop(_normal(name), None)) for label, name in enumerate(wanted))
    return {label: old for label, old in found if old is not None}


def _layer_of(name: str) -> _Layer | None:
    module = name.rpartition(".")[0]
    return next((layer for layer in _LAYERS if re.fullmatch(layer.name, module)), None)


def _copy(layer: _Layer, old: Tensor, new: Tensor, pairs: Mapping[int, int], num_old: int) -> None:
    """Copy the rows of classes and background of one tensor; `pairs` as of `_pairs`."""
    background = int(layer.has_background)
    anchors = (len(old) - background) // (num_old * layer.values)
    num_new = (len(new) - background) // (anchors * layer.values)
    target = _by_class(new, anchors, num_new, layer.values)
    source = _by_class(old, anchors, num_old, layer.values)
    with torch.no_grad():
        for label, other in pairs.items():
            target[:, label] = source[:, other].to(target.dtype)
        if background:
            new[-1] = old[-1].to(new.dtype)


def _by_class(tensor: Tensor, anchors: int, num_classes: int, values: int) -> Tensor:
    """Return a view of a tensor's rows without the background: anchors x classes x values x ..."""
    rows = tensor[: anchors * num_classes * values]
    return rows.view(anchors, num_classes, values, *tensor.shape[1:])


def _text(
    known: Sequence[str] | None, wanted: Sequence[str], pairs: Mapping[int, int], num_old: int
) -> str:
    kept = [wanted[label] for label in pairs]
    new = [name for label, name in enumerate(wanted) if label not in pairs]
    if known is None:
        return f"the checkpoint does not name its {num_old} classes, so all {len(new)} are new"
    parts = [
        f"{len(kept)} classes keep their rows ({_listed(kept)})"
        if kept
        else "no class is the same",
        f"{len(new)} are new ({_listed(new)})" if new else "none is new",
        f"{num_old - len(kept)} of the checkpoint are dropped",
    ]
    return ", ".join(parts)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
