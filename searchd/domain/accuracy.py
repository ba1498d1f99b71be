"""How accurate a detector is on a split, as COCO measures it. Standard library only."""

from dataclasses import dataclass
from enum import StrEnum


class ApKind(StrEnum):
    """Which AP is meant.

    Attributes:
        BOX_AP: That of boxes, by their overlap.
        MASK_AP: That of masks, by their overlap; of detectors that find masks.
    """

    BOX_AP = "box_ap"
    MASK_AP = "mask_ap"

    @property
    def words(self) -> str:
        """Its name in tables and messages."""
        return "mask AP" if self is ApKind.MASK_AP else "AP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """COCO box AP and average recall (AR), and mask AP of a detector that finds masks, in [0, 1];
    -1, as in COCO, where the split has no object of that size. None: an earlier version, which did
    not measure it."""

    ap: float
    """Mean over IoU thresholds .50 to .95."""
    ap50: float
    ap75: float
    ap_small: float
    """Objects below 32 x 32 pixels of the original image."""
    ap_medium: float
    ap_large: float
    """Objects above 96 x 96 pixels."""
    ap70: float | None = None
    """AP at the IoU threshold .70, beside that at .90 as VOC and BDD are reported
    (docs/papers.md 3.6)."""
    ap90: float | None = None
    ar1: float | None = None
    """AR with one detection of an image and class, averaged over the same thresholds."""
    ar10: float | None = None
    ar100: float | None = None
    """AR with at most 100 detections of an image and class, as all figures but `ar1` and `ar10`."""
    ar_small: float | None = None
    ar_medium: float | None = None
    ar_large: float | None = None
    mask_ap: float | None = None
    """AP by the overlap of masks instead of boxes, as `ap`. None: no masks were found, as by every
    detector of boxes."""
    mask_ap50: float | None = None

    def of(self, kind: ApKind) -> float:
        """Return the AP of a kind. That of masks is 0 if no masks were found."""
        return self.ap if kind is ApKind.BOX_AP else self.mask_ap or 0.0
