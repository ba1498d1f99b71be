"""Mask and Cascade Mask R-CNN from detections to masks, to be traced; see `graph`."""

from collections.abc import Sequence

import torch
from mmdet.models import BaseDetector
from torch import Tensor, nn

from detection.build import predicts_masks
from detection.deployment.candidates import Candidates
from detection.deployment.operators import Operators
from detection.deployment.regions import pooled


def mask_heads(model: BaseDetector) -> list[nn.Module]:
    """Return the mask heads of a detector, several of a cascade; none if it finds boxes alone."""
    if not predicts_masks(model):
        return []
    heads = model.roi_head.mask_head
    return list(heads) if isinstance(heads, nn.ModuleList) else [heads]


class MaskTail(nn.Module):
    """The mask heads on the detections. The masks of a cascade are the mean of its heads'.

    The heads run on the detections alone, whose number is known only while the graph runs, and on
    one box if there is none: not every runtime takes an empty tensor.
    """

    def __init__(self, model: BaseDetector, operators: Operators) -> None:
        super().__init__()
        self.operators = operators
        self.heads = nn.ModuleList(mask_heads(model))
        extractors = model.roi_head.mask_roi_extractor
        self.extractor = extractors[0] if isinstance(extractors, nn.ModuleList) else extractors

    def forward(self, levels: Sequence[Tensor], found: Candidates) -> Tensor:
        """Return the masks of the detections, B x D x M x M; 0 after an image's last one."""
        num_images, num_boxes = found.scores.shape
        counts = found.counts.flatten()
        is_first = torch.arange(counts.shape[0], device=counts.device) == 0
        (places,) = torch.where(counts | is_first)
        features = pooled(
            levels,
            found.boxes.flatten(0, 1)[places],
            places // num_boxes,
            self.extractor,
            self.operators,
        )
        labels = found.groups.flatten()[places]
        masks = torch.stack([_of_class(head(features), labels) for head in self.heads]).mean(0)
        nothing = masks.new_zeros(num_images * num_boxes, *masks.shape[1:])
        spread = nothing.index_put((places,), masks)
        return torch.where(counts[:, None, None], spread, 0.0).unflatten(0, (num_images, num_boxes))


def _of_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the probabilities of one class of each region: R x K x M x M -> R x M x M."""
    wanted = labels[:, None, None, None].expand(-1, 1, *logits.shape[2:])
    return logits.gather(1, wanted).squeeze(1).sigmoid()
