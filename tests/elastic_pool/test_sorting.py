"""Channel sorting."""

import torch

from elastic_pool.sorting import sort_channels
from tests.elastic_pool.tiny import (
    TINY_SPACE,
    largest_difference,
    make_images,
    make_supernet,
    raw_outputs,
)


def test_sorting_leaves_the_supernets_function_unchanged() -> None:
    supernet = make_supernet()
    supernet.detector.double()  # additions change their order
    weights = {name: value.clone() for name, value in supernet.weights().items()}
    with torch.no_grad():
        before = _without_channel_order(raw_outputs(supernet.detector, make_images().double()))
        sort_channels(supernet)
        after = _without_channel_order(raw_outputs(supernet.detector, make_images().double()))
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    moved = [name for name, value in supernet.weights().items() if (value != weights[name]).any()]
    assert "backbone.layer3.1.conv1.weight" in moved
    assert "backbone.layer3.0.downsample.1.running_var" in moved
    assert "neck.lateral_convs.2.conv.bias" in moved
    assert "roi_head.bbox_head.shared_fcs.0.weight" in moved
    assert "rpn_head.rpn_cls.weight" in moved
    assert "backbone.conv1.weight" not in moved  # the stem is not elastic


def test_inner_channels_are_sorted_by_the_weights_that_read_them() -> None:
    supernet = make_supernet()
    block = supernet.detector.backbone.layer1[0]  # 12 inner channels
    with torch.no_grad():
        block.conv2.weight.copy_(torch.arange(12.0).reshape(1, 12, 1, 1).expand(12, 12, 3, 3))
        block.bn1.bias.copy_(torch.arange(12.0))
    sort_channels(supernet)
    assert block.conv2.weight[0, :, 0, 0].tolist() == [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert block.bn1.bias.tolist() == [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_neck_channels_are_ranked_by_rpn_and_first_fc() -> None:
    supernet = make_supernet()
    head = supernet.detector.roi_head.bbox_head.shared_fcs[0]  # 32 x (24 * 7 * 7)
    with torch.no_grad():
        supernet.detector.rpn_head.rpn_conv.weight.zero_()
        head.weight.zero_()
        head.weight[:, 5 * 49 : 6 * 49] = 1  # only channel 5 is read
    sort_channels(supernet)
    assert head.weight[:, :49].min().item() == 1
    assert head.weight[:, 49:].abs().max().item() == 0


def test_sorting_twice_changes_nothing_more() -> None:
    supernet = make_supernet()
    sort_channels(supernet)
    once = {name: value.clone() for name, value in supernet.weights().items()}
    with torch.no_grad():
        sort_channels(supernet)
    names = [name for name in once if ".conv2.weight" in name]
    assert names
    assert all(
        _ranks(supernet.weights()[name]) == sorted(_ranks(once[name]), reverse=True)
        for name in names
    )


def test_returned_order_says_where_neck_channels_came_from() -> None:
    supernet = make_supernet()
    supernet.detector.double()
    images = make_images().double()
    with torch.no_grad():
        before = supernet.detector.extract_feat(images)[0]
        order = sort_channels(supernet)
        after = supernet.detector.extract_feat(images)[0]
    torch.testing.assert_close(after, before[:, order], rtol=1e-9, atol=1e-9)
    assert order.tolist() != list(range(24))


def test_smallest_subnet_loses_less_when_unimportant_channels_come_last() -> None:
    """With half the neck's channels unread, a subnet without them computes the same head outputs
    after sorting and others before."""
    supernet = make_supernet()
    with torch.no_grad():
        supernet.detector.rpn_head.rpn_conv.weight[:, ::3] = 0  # 8 of 24, spread
        fc = supernet.detector.roi_head.bbox_head.shared_fcs[0].weight
        fc.view(32, 24, 49)[:, ::3] = 0
        supernet.detector.neck.fpn_convs[0].conv.weight[:, ::3] = 0
        for i in range(1, 4):
            supernet.detector.neck.fpn_convs[i].conv.weight[:, ::3] = 0
        supernet.detector.rpn_head.rpn_cls.weight[:, ::3] = 0
        supernet.detector.rpn_head.rpn_reg.weight[:, ::3] = 0
        narrow = type(TINY_SPACE.largest)(
            depths=TINY_SPACE.largest.depths, widths=TINY_SPACE.largest.widths, neck_channels=16
        )
        full = raw_outputs(supernet.detector, make_images())[-2:]
        with supernet.active(narrow) as subnet:
            unsorted = raw_outputs(subnet, make_images())[-2:]
        sort_channels(supernet)
        with supernet.active(narrow) as subnet:
            inside = raw_outputs(subnet, make_images())[-2:]
    assert largest_difference(inside, full) < 1e-4
    assert largest_difference(unsorted, full) > 1e-2


def _without_channel_order(outputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Five FPN levels and the RoI features (third to last) are sorted too: compare their sums."""
    roi_features = len(outputs) - 3
    return [
        output.sum(1) if index < 5 or index == roi_features else output
        for index, output in enumerate(outputs)
    ]


def _ranks(weight: torch.Tensor) -> list[float]:
    return [round(value, 3) for value in weight.abs().sum((0, 2, 3)).tolist()]
