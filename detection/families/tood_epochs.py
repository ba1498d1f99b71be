"""Tells TOOD's head the epoch, by which it chooses its targets; it reads it from mmengine's hub.

In its first epochs a TOOD is trained as ATSS is, on the anchors that are near an object; then on
those whose score and box fit the object best (docs/papers.md 0.1).
"""

from mmengine.logging import MessageHub

INITIAL_EPOCHS = 4
"""Epochs of mmdet's schedule in which the targets do not follow from the predictions."""
SCHEDULE = 12
"""Epochs of that schedule, mmdet's `1x`."""


def tell_epoch(epoch: int, num_epochs: int) -> None:
    """Let the losses be those of an epoch of a training, which starts from 0.

    The first `INITIAL_EPOCHS` are initial ones, and of a training shorter than `SCHEDULE` the first
    third, rounded up: such a training would else have no other ones.
    """
    _tell(epoch * SCHEDULE // min(num_epochs, SCHEDULE))


def tell_trained() -> None:
    """Let the losses be those of a detector that is past its initial epochs."""
    _tell(INITIAL_EPOCHS)


def _tell(epoch: int) -> None:
    MessageHub.get_current_instance().update_info("epoch", epoch)
