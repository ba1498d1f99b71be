"""Batches are the same to the bit, whichever process reads them and from whatever step on."""

import gc
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from detection.data.augmentations import Augmenter
from detection.data.batches import Batch, TrainingBatches
from detection.data.coco import CocoSplit
from detection.data.reading_ahead import read_ahead
from detection.data.shapes import make_shapes
from searchd.domain.errors import DataError
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec, TrainingSpec

pytestmark = [
    pytest.mark.timeout(60),  # processes are forked
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # on a machine with one CPU
]

MakeDataset = Callable[..., DatasetSpec]
SMALL, LARGE, TEACHERS = Resolution(48, 48), Resolution(64, 64), Resolution(96, 96)
SPEC = TrainingSpec(scale_jitter=(0.5, 1.5), photometric_distortion={})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder: Path = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, num_train=7, num_validation=1, image_size=64)


def batches(data: DatasetSpec, augmenter: Augmenter | None = None) -> TrainingBatches:
    return TrainingBatches(
        CocoSplit(data.train),
        batch_size=3,
        resolutions=(SMALL, LARGE),
        augmenter=augmenter,
        seed=4,
    )


def content(batch: Batch) -> tuple[object, ...]:
    objects = [sample.gt_instances for sample in batch.samples]
    return (
        batch.inputs.tolist(),
        [each.bboxes.tolist() for each in objects],
        [each.labels.tolist() for each in objects],
        [sample.metainfo for sample in batch.samples],
        batch.indices,
        batch.resolution,
    )


@pytest.mark.parametrize("augmenter", [Augmenter(), Augmenter.of(SPEC)], ids=["plain", "augmented"])
@pytest.mark.parametrize("num_readers", [0, 1, 2])
def test_batches_are_the_same_whoever_reads_them(
    data: DatasetSpec, augmenter: Augmenter, num_readers: int
) -> None:
    steps = range(2, 8)  # from inside the first epoch into the third

    read = read_ahead(batches(data, augmenter), steps, [TEACHERS], num_readers=num_readers)

    expected = batches(data, augmenter)
    for step, found in zip(steps, read, strict=True):
        own, teachers = expected.views(step, TEACHERS)
        assert set(found) == {expected.resolution(step), TEACHERS}
        assert content(found[own.resolution]) == content(own)
        assert content(found[TEACHERS]) == content(teachers)


def test_images_travel_in_bytes_unless_their_colours_are_changed(data: DatasetSpec) -> None:
    (plain,) = batches(data).read(0).values()
    (changed,) = batches(data, Augmenter.of(SPEC)).read(0).values()

    assert (plain.pixels.dtype, changed.pixels.dtype) == (torch.uint8, torch.float32)
    assert plain.on("cpu").inputs.dtype == torch.float32


def test_readers_keep_what_they_decode_for_all(data: DatasetSpec) -> None:
    split = CocoSplit(data.train)
    first = TrainingBatches(split, batch_size=7, resolutions=[LARGE])
    expected = CocoSplit(data.train).image(0)

    list(read_ahead(first, range(1), num_readers=1))
    moved = split.records[0].path.rename(split.records[0].path.with_suffix(".away"))
    try:
        assert (split.image(0) == expected).all()  # read in the other process
    finally:
        moved.rename(split.records[0].path)


@pytest.mark.parametrize("num_readers", [0, 1])
def test_an_image_that_cannot_be_read_is_named(make_dataset: MakeDataset, num_readers: int) -> None:
    spec = make_dataset().train
    (spec.images / "wide.png").write_bytes(b"")
    broken = TrainingBatches(CocoSplit(spec), batch_size=2, resolutions=[SMALL])

    with pytest.raises(DataError) as caught:
        next(read_ahead(broken, range(1), num_readers=num_readers))

    file = spec.images / "wide.png"
    assert str(caught.value) == f"{file}: the image cannot be read: the file is empty"


def test_readers_end_when_a_training_is_given_up(data: DatasetSpec) -> None:
    before = psutil.Process().children()  # of other tests in this process
    read = read_ahead(batches(data), range(100), num_readers=2)
    next(read)
    readers = [each for each in psutil.Process().children() if each not in before]

    del read
    gc.collect()
    _, alive = psutil.wait_procs(readers, timeout=10)

    assert len(readers) == 2
    assert not alive


def test_reading_leaves_the_random_state_alone(data: DatasetSpec) -> None:
    before = torch.get_rng_state()

    list(read_ahead(batches(data), range(2), num_readers=1))

    assert torch.equal(torch.get_rng_state(), before)
