"""The decoder is multi-head attention over all levels' cells that keeps its weights and values."""

import math

import pytest
import torch
from torch import Tensor, nn

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.conditional_decoder import (
    ConditionalDecoder,
    Grid,
    grid_of,
    joined,
    split_heads,
)

SIZES = torch.tensor([[64.0, 64.0], [40.0, 33.0]])  # width and height of two images in 64 x 64 px


def levels(channels: int = 24) -> dict[int, Tensor]:
    torch.manual_seed(0)
    return {stride: torch.randn(2, channels, 64 // stride, 64 // stride) for stride in (8, 16, 32)}


def asked(
    channels: int = 24, num_heads: int = 8
) -> tuple[ConditionalDecoder, tuple[Tensor, Tensor, Grid]]:
    """A decoder for 24 channels, and the arguments of a call."""
    torch.manual_seed(1)
    maps = levels(channels)
    decoder = ConditionalDecoder(24, num_heads)
    grid = grid_of(maps, (8, 16, 32), SIZES)
    return decoder, (torch.randn(2, 5, 256), joined(maps, (8, 16, 32)), grid)


def test_levels_are_joined_row_by_row() -> None:
    maps = levels()

    found = joined(maps, (8, 32))

    assert found.shape == (2, 24, 1, 64 + 4)
    assert torch.equal(found[1, :, 0, 8 * 3 + 5], maps[8][1, :, 3, 5])
    assert torch.equal(found[1, :, 0, 64 + 2 * 1 + 0], maps[32][1, :, 1, 0])


def test_narrow_levels_use_the_leading_part_of_a_map() -> None:
    torch.manual_seed(0)
    maps = {8: torch.randn(2, 24, 8, 8), 16: torch.randn(2, 10, 4, 4)}
    value = ChannelAdapter(24, 256, 1)

    found = value(joined(maps, (8, 16)))[:, :, 0, 64:]

    torch.testing.assert_close(found, value(maps[16]).flatten(start_dim=2))


def test_cells_that_begin_beyond_their_image_are_padding() -> None:
    padding = grid_of(levels(), (16, 32), SIZES).is_padding

    assert not padding[0].any()
    # 40 x 33 px: columns at 0, 16 and 32 and rows at 0, 16 and 32 begin inside
    coarse, coarser = padding[1, :16].view(4, 4), padding[1, 16:].view(2, 2)
    assert coarse[:3, :3].logical_not().all()
    assert coarse[3].all()
    assert coarse[:, 3].all()
    assert not coarser.any()


def test_positions_of_every_level_span_the_image_without_its_padding() -> None:
    found = grid_of(levels(), (16,), SIZES).positions[:, :, 0].view(2, 256, 4, 4)

    # channel 0 is sin(y), channel 129 cos(x): cells 1..n of the image cover one period
    whole = [math.sin(2 * math.pi * row / 4) for row in (1, 2, 3, 4)]
    part = [math.cos(2 * math.pi * column / 3) for column in (1, 2, 3)]
    assert found[0, 0, :, 2].tolist() == pytest.approx(whole, abs=1e-5)
    assert found[1, 129, 0, :3].tolist() == pytest.approx(part, abs=1e-5)


def test_attention_sums_to_one_and_ignores_padding() -> None:
    decoder, (queries, features, grid) = asked()

    found = decoder(queries, features, grid)

    assert found.attention.shape == (2, 8, 5, 84)
    assert found.values.shape == (2, 8, 32, 84)
    assert found.embeddings.shape == (2, 5, 256)
    torch.testing.assert_close(found.attention.sum(dim=3), torch.ones(2, 8, 5))
    assert not found.attention[1, :, :, grid.is_padding[1]].any()
    assert found.attention[0].min() > 0
    disturbed = features.masked_fill(grid.is_padding[:, None, None], 1e3)
    torch.testing.assert_close(decoder(queries, disturbed, grid).embeddings, found.embeddings)


@pytest.mark.parametrize("num_heads", [1, 8])
def test_attention_equals_torchs_multi_head_attention(num_heads: int) -> None:
    decoder, (queries, features, grid) = asked(num_heads=num_heads)
    reference = nn.MultiheadAttention(256, num_heads, kdim=24, vdim=24, batch_first=True)
    own = decoder.state_dict()
    reference.load_state_dict(
        {
            "q_proj_weight": own["query.weight"],
            "k_proj_weight": own["key.weight"][:, :, 0, 0],
            "v_proj_weight": own["value.weight"][:, :, 0, 0],
            "in_proj_bias": torch.cat([own["query.bias"], own["key.bias"], own["value.bias"]]),
            "out_proj.weight": own["out.weight"],
            "out_proj.bias": own["out.bias"],
        }
    )
    positions = grid.positions[:, :, 0].transpose(1, 2)
    places = positions @ own["position.weight"][:, :, 0, 0].T + own["position.bias"]
    cells = features[:, :, 0].transpose(1, 2)

    attended, weights = reference(
        queries,
        cells + places,
        cells,
        key_padding_mask=grid.is_padding,
        average_attn_weights=False,
    )
    found = decoder(queries, features, grid)

    torch.testing.assert_close(found.attention, weights, rtol=1e-4, atol=1e-6)
    normed = decoder.attention_norm(queries + attended)
    expected = decoder.ffn_norm(normed + decoder.ffn(normed))
    torch.testing.assert_close(found.embeddings, expected, rtol=1e-4, atol=1e-5)


def test_values_hold_no_positions() -> None:
    decoder, (queries, features, grid) = asked()
    elsewhere = Grid(positions=torch.randn_like(grid.positions), is_padding=grid.is_padding)

    here, there = decoder(queries, features, grid), decoder(queries, features, elsewhere)

    assert torch.equal(here.values, there.values)
    assert torch.equal(here.values, split_heads(decoder.value(features), 8))
    assert not torch.allclose(here.attention, there.attention)


def test_heads_are_groups_of_neighbouring_channels() -> None:
    maps = torch.arange(256.0)[None, :, None, None].expand(1, 256, 1, 3)

    assert split_heads(maps, 8)[0, 2, :, 1].tolist() == list(range(64, 96))


def test_narrow_teacher_uses_the_leading_part() -> None:
    wide, (queries, _, grid) = asked()
    narrow = ConditionalDecoder(10, 8)
    state = wide.state_dict()
    for name in ("key.weight", "value.weight"):
        state[name] = state[name][:, :10]
    for name in ("position.weight", "position.bias"):
        state[name] = state[name][:10]
    narrow.load_state_dict(state)
    features = joined(levels(10), (8, 16, 32))

    torch.testing.assert_close(
        wide(queries, features, grid).attention, narrow(queries, features, grid).attention
    )


def test_decoder_works_without_a_pyramid() -> None:
    torch.manual_seed(0)
    level = {16: torch.randn(2, 24, 4, 4)}

    found = ConditionalDecoder(24, 8)(
        torch.randn(2, 3, 256), joined(level, (16,)), grid_of(level, (16,), SIZES)
    )

    assert found.attention.shape == (2, 8, 3, 16)


def test_without_instances_every_parameter_has_a_zero_gradient() -> None:
    decoder, (queries, features, grid) = asked()

    decoder(queries[:, :0], features, grid).embeddings.sum().backward()

    gradients = [parameter.grad for parameter in decoder.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
