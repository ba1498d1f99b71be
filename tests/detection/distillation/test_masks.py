"""Masks of objects on a level against hand drawings; cells of 8 pixels, maps of 6 x 4 (W x H)."""

import math

import pytest
import torch
from mmdet.models.task_modules import AnchorGenerator

from detection.distillation.masks import (
    anchor_masks,
    gaussian_mask,
    ground_truth_mask,
    scale_mask,
)

CELL, SIZE = 8, (4, 6)
WIDE = [8.0, 8.0, 32.0, 24.0]  # exactly columns 1..3, rows 1..2
INNER = [17.0, 9.0, 23.0, 15.0]  # inside column 2, row 1
CORNER = [41.0, 25.0, 48.0, 32.0]  # column 5, row 3
NOTHING: list[list[float]] = []


def boxes(*images: list[list[float]]) -> list[torch.Tensor]:
    return [torch.tensor(image, dtype=torch.float64).view(-1, 4) for image in images]


def drawn(picture: str) -> torch.Tensor:
    """A mask of digits, rows apart by spaces."""
    return torch.tensor([[float(d) for d in row] for row in picture.split()], dtype=torch.float64)


def test_ground_truth_mask_is_one_in_cells_that_a_box_touches() -> None:
    mask = ground_truth_mask(boxes([WIDE, CORNER], NOTHING, [INNER]), CELL, SIZE)

    assert torch.equal(mask[0], drawn("000000 011100 011100 000001"))
    assert torch.equal(mask[1], drawn("000000 000000 000000 000000"))
    assert torch.equal(mask[2], drawn("000000 001000 000000 000000"))


def test_a_box_is_widened_to_whole_cells_and_cut_at_the_map() -> None:
    mask = ground_truth_mask(boxes([[7.0, 15.5, 8.5, 60.0]], [[47.9, 31.9, 48, 32]]), CELL, SIZE)

    assert torch.equal(mask[0], drawn("000000 110000 110000 110000"))
    assert torch.equal(mask[1], drawn("000000 000000 000000 000001"))


def test_a_box_without_area_covers_the_cell_that_it_is_in() -> None:
    mask = ground_truth_mask(
        boxes([[16.0, 8.0, 16.0, 8.0]], [[48.0, 32.0, 48.0, 32.0]]), CELL, SIZE
    )

    assert torch.equal(mask[0], drawn("000000 001000 000000 000000"))
    assert torch.equal(mask[1], drawn("000000 000000 000000 000001"))


def test_scale_mask_gives_each_box_one_and_the_smallest_wins_where_they_overlap() -> None:
    objects = boxes([WIDE], [INNER, WIDE], [WIDE, INNER], NOTHING)

    mask = scale_mask(objects, CELL, SIZE)

    torch.testing.assert_close(mask[0], drawn("000000 011100 011100 000000") / 6)
    overlapping = drawn("000000 011100 011100 000000") / 6
    overlapping[1, 2] = 1
    torch.testing.assert_close(mask[1], overlapping)
    torch.testing.assert_close(mask[2], overlapping)
    assert not mask[3].any()


def test_gaussian_mask_falls_from_the_centre_and_is_zero_outside_the_box() -> None:
    mask = gaussian_mask(boxes([WIDE, CORNER], NOTHING), CELL, SIZE)

    # 3 x 2 cells: sx = 3/4 with dx = 0 or 1, sy = 1/2 with dy = 1/2.
    middle, side = math.exp(-0.5), math.exp(-0.5 - 1 / (2 * 0.75**2))
    expected = drawn("000000 000000 000000 000001")
    expected[1:3, 1:4] = torch.tensor([side, middle, side], dtype=torch.float64)
    torch.testing.assert_close(mask[0], expected)
    assert not mask[1].any()


def test_gaussian_mask_takes_the_larger_of_two_objects() -> None:
    both = gaussian_mask(boxes([WIDE, INNER]), CELL, SIZE)[0]
    wide = gaussian_mask(boxes([WIDE]), CELL, SIZE)[0]

    assert float(both[1, 2]) == 1.0
    both[1, 2] = wide[1, 2]
    assert torch.equal(both, wide)


def square_anchors() -> AnchorGenerator:
    """One of 16 pixels in every cell of 8, one of 32 in every cell of 16; centred on its corner."""
    return AnchorGenerator(strides=[8, 16], scales=[2.0], ratios=[1.0])


def test_anchor_mask_marks_cells_whose_anchors_come_half_as_near_as_the_best() -> None:
    objects = boxes([[8.0, 8.0, 24.0, 24.0]], NOTHING)  # the anchor at cell x=2, y=2 of 8 pixels

    fine, coarse = anchor_masks(square_anchors(), objects, [SIZE, (2, 3)])

    # IoU 1 at (2, 2), 1/3 one cell away; 16 x 16 in the 32 x 32 anchor at (1, 1): 1/4.
    assert torch.equal(fine[0], drawn("000000 000000 001000 000000"))
    assert not coarse[0].any()
    assert not fine[1].any()
    assert not coarse[1].any()


def test_anchor_mask_compares_with_the_best_anchor_of_all_levels() -> None:
    objects = boxes([[4.0, 0.0, 28.0, 32.0]])  # 24 x 32: 3/4 of the coarse anchor at (1, 1)

    fine, coarse = anchor_masks(square_anchors(), objects, [SIZE, (2, 3)])

    # Fine anchors have at most 16 * 16 / (24 * 32) = 1/3 < 3/8.
    assert torch.equal(coarse[0], drawn("000 010"))
    assert not fine[0].any()


def test_anchor_mask_marks_a_cell_for_any_of_its_anchors() -> None:
    anchors = AnchorGenerator(strides=[8], scales=[2.0], ratios=[1.0, 4.0])

    (mask,) = anchor_masks(anchors, boxes([[12.0, 0.0, 20.0, 32.0]]), [SIZE])

    # The tall anchor (8 x 32) at (2, 2) fits; moved by 8 down or up it still has 24/40.
    assert torch.equal(mask[0], drawn("000000 001000 001000 001000"))


def test_an_object_beyond_every_anchor_marks_nothing() -> None:
    far = boxes([[400.0, 400.0, 401.0, 401.0]])

    assert not any(mask.any() for mask in anchor_masks(square_anchors(), far, [SIZE, (2, 3)]))


@pytest.mark.parametrize("mask", [scale_mask, ground_truth_mask, gaussian_mask])
def test_no_image_needs_an_object(mask: object) -> None:
    assert callable(mask)
    assert torch.equal(mask(boxes(NOTHING, NOTHING), CELL, SIZE), torch.zeros(2, 4, 6).double())
