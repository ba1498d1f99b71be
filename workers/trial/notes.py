"""Collects what a worker decided during a trial, besides its results."""

from dataclasses import dataclass, field

from detection.training import Training


@dataclass
class Notes:
    """The decisions so far. They are reported even if the trial fails."""

    texts: list[str] = field(default_factory=list)
    batch_size: int | None = None
    """Images per step that were found by memory; None if the task names the number."""

    def add(self, text: str) -> None:
        """Add a decision in words."""
        self.texts.append(text)

    def add_batch_size(self, training: Training, earlier: int | None) -> None:
        """Add the batch size of a training, if it was found by memory.

        Args:
            training: The training.
            earlier: The batch size that an earlier attempt found; None if there was none.
        """
        self.batch_size, found = earlier, training.found_batch_size
        if found is not None:
            self.batch_size = found.number
            self.add(f"batch size {found.number} found by memory: {found.reason}")
