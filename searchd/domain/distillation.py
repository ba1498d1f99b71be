"""The catalogue of distillation methods and what each needs. Standard library only.

A spec names methods from here; `detection.distillation` computes them. What cannot fit is refused
when the spec is submitted, long before a GPU sees it.
"""

from dataclasses import dataclass
from enum import StrEnum

from searchd.domain.detector import Family


class MethodName(StrEnum):
    """Name of a distillation method, as a spec writes it.

    Attributes:
        PROPOSAL_FEATURE: RoI features of positive proposals (Joint-DetNAS 3.2.1).
        CLASSIFICATION: Soft cross entropy on sampled RoIs (Joint-DetNAS 3.2.2).
        CLASS_AWARE_LOCALISATION: Box deltas weighted by the teacher's class scores (3.2.2).
    """

    PROPOSAL_FEATURE = "proposal_feature"
    CLASSIFICATION = "classification"
    CLASS_AWARE_LOCALISATION = "class_aware_localisation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a method needs of the pair."""

    paper: str
    section: str
    families: frozenset[Family]
    """Families that both student and teacher may have."""


_TWO_STAGE = frozenset({Family.FASTER_RCNN})
CATALOGUE: dict[MethodName, Method] = {
    MethodName.PROPOSAL_FEATURE: Method(
        paper="Joint-DetNAS", section="3.2.1, A.2", families=_TWO_STAGE
    ),
    MethodName.CLASSIFICATION: Method(
        paper="Joint-DetNAS", section="3.2.2, A.2", families=_TWO_STAGE
    ),
    MethodName.CLASS_AWARE_LOCALISATION: Method(
        paper="Joint-DetNAS", section="3.2.2, A.2", families=_TWO_STAGE
    ),
}
