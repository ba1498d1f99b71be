"""Reads batches ahead of their use, in processes of their own."""

from collections.abc import Iterator, Sequence

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from detection.data.batches import Batch, PixelBatch, TrainingBatches
from searchd.domain.errors import DataError
from searchd.domain.resolution import Resolution

Read = dict[Resolution, PixelBatch]


def read_ahead(
    batches: TrainingBatches,
    steps: Sequence[int],
    others: Sequence[Resolution] = (),
    *,
    device: torch.device | str = "cpu",
    num_readers: int = 0,
) -> Iterator[dict[Resolution, Batch]]:
    """Yield the batches of some steps, by resolution, on a device.

    What is read depends on seed and step alone, so it is the same whoever reads it, and from
    whatever step on.

    Args:
        batches: The batches of a training.
        steps: Global steps, from 0, in the order in which they are yielded.
        others: Resolutions at which the images are needed besides that of each step.
        device: Device of the batches. A GPU gets bytes from pinned memory, without waiting.
        num_readers: Number of processes that read ahead, two batches each; 0 to read each batch in
            this process, when it is needed.

    Raises:
        DataError: An image cannot be read.
    """
    loader = DataLoader(
        _Steps(batches, others),
        batch_size=None,
        sampler=steps,
        num_workers=num_readers,
        pin_memory=torch.device(device).type == "cuda",
        # Forked, so that readers share the records and the decoded images of this process.
        multiprocessing_context="fork" if num_readers else None,
        worker_init_fn=_use_one_thread,
        generator=torch.Generator(),  # the global one is the training's
    )
    for read in loader:
        if isinstance(read, DataError):
            raise read
        yield {resolution: pixels.on(device) for resolution, pixels in read.items()}


class _Steps(Dataset[Read | DataError]):
    """The batches by step. An error is handed over as it is, since a `DataLoader` would raise it
    again with the reader's traceback as its text."""

    def __init__(self, batches: TrainingBatches, others: Sequence[Resolution]) -> None:
        self._batches, self._others = batches, others

    def __getitem__(self, step: int) -> Read | DataError:
        try:
            return self._batches.read(step, *self._others)
        except DataError as error:
            return error


def _use_one_thread(_reader: int) -> None:
    cv2.setNumThreads(0)  # a forked process does not have the threads of OpenCV's pool
