"""Keeps data and supernets loaded in a worker process from one trial to the next."""

from dataclasses import dataclass, field

from detection.data.coco import CocoSplit
from elastic_pool.supernet import Supernet
from elastic_pool.teacher import load_supernet
from searchd.messages.tasks import PoolRef
from searchd.spec import SplitSpec


@dataclass
class TrialContext:
    """Keeps data and supernets loaded in a worker process from one trial to the next."""

    splits: dict[SplitSpec, CocoSplit] = field(default_factory=dict)
    samples: dict[tuple[SplitSpec, int], CocoSplit] = field(default_factory=dict)
    """Splits of fewer images; see `CocoSplit.spaced`."""
    supernets: dict[str, Supernet] = field(default_factory=dict)
    """The supernet of the last pool that was used, by its SHA-256."""

    def split(self, spec: SplitSpec) -> CocoSplit:
        """Return a split of a data set, with its decoded images.

        Raises:
            DataError: The split cannot be read.
        """
        if spec not in self.splits:
            self.splits[spec] = CocoSplit(spec)
        return self.splits[spec]

    def sample(self, spec: SplitSpec, num: int) -> CocoSplit:
        """Return a split of fewer images of a data set, with its decoded images.

        Raises:
            DataError: The split cannot be read.
        """
        if (spec, num) not in self.samples:
            self.samples[spec, num] = self.split(spec).spaced(num)
        return self.samples[spec, num]

    def supernet(self, pool: PoolRef, num_classes: int) -> Supernet:
        """Return a pool's supernet.

        Raises:
            ArtifactError: The stored file is missing or damaged.
        """
        key = pool.supernet.sha256
        if key not in self.supernets:
            self.supernets = {key: load_supernet(pool, num_classes)}
        return self.supernets[key]
