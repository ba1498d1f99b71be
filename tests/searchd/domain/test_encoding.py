import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchd.domain.architecture import BlockKind, Shortcut, preset
from searchd.domain.encoding import encode, parse
from searchd.domain.errors import EncodingError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/jointdetnas.json").read_text())[
    "encoding_strings"
]
KINDS = {"R18": BlockKind.BASIC, "R50": BlockKind.BOTTLENECK, "R101": BlockKind.BOTTLENECK}


@pytest.mark.parametrize("name", ["R18", "R50", "R101"])
def test_golden_encoding_parses_strictly_and_prints_back(name: str) -> None:
    assert encode(parse(GOLDEN[name], KINDS[name], strict=True)) == GOLDEN[name]


@pytest.mark.parametrize(
    ("name", "depths", "out_channels"),
    [
        ("R18", (1, 2, 2, 2), (64, 128, 256, 512)),
        ("R50", (3, 4, 6, 3), (205, 314, 591, 1856)),
        ("R101", (3, 4, 20, 5), (202, 300, 321, 2031)),
    ],
)
def test_golden_encoding_has_the_papers_depths_and_stage_outputs(
    name: str, depths: tuple[int, ...], out_channels: tuple[int, ...]
) -> None:
    architecture = parse(GOLDEN[name], KINDS[name])
    assert architecture.depths == depths
    assert architecture.out_channels == out_channels


def test_r101_stage_4_starts_with_a_moved_block_and_projects_later() -> None:
    stage_4 = parse(GOLDEN["R101"], BlockKind.BOTTLENECK).stages[3]
    assert [block.shortcut for block in stage_4] == [
        Shortcut.SUBSAMPLE,
        Shortcut.IDENTITY,
        Shortcut.PROJECTION,
        Shortcut.IDENTITY,
        Shortcut.IDENTITY,
    ]


@pytest.mark.parametrize(
    "debris",
    [
        r"(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)",
        r"[(64,64)],[(128,128)\text{-}(128,128)],[(256,256)-(256,256)],[(512,512)-(512,512)]",
        "[ (64,\\ 64) ],\n [(128, 128) - (128, 128)], [(256, 256)\u2013(256, 256)], "
        "[(512, 512)-(512, 512)].",
        "$[(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)]$",
    ],
)
def test_typographic_debris_is_repaired_by_default_and_refused_when_strict(debris: str) -> None:
    assert encode(parse(debris, BlockKind.BASIC)) == GOLDEN["R18"]
    with pytest.raises(EncodingError, match="not canonical"):
        parse(debris, BlockKind.BASIC, strict=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "4 stages"),
        ("resnet18", "does not parse at 'resnet18'"),
        ("[(8, 8)], [(16, 16)]", r"4 stages.*got \[1, 1\]"),
        ("[(8, 8)], [(16, 16)], [(32, 32)], [(64, 64), (64, 64)]", "does not parse.*stage 4"),
        ("[(8, 8)], [(16, 16)], [(32, 32)], [(64)]", "basic blocks have 2 channel numbers"),
        ("[(8, 0)], [(16, 16)], [(32, 32)], [(64, 64)]", "stage 1, block 0.*at least 1"),
    ],
)
def test_malformed_text_is_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        parse(text, BlockKind.BASIC)


@given(
    kind=st.sampled_from(BlockKind),
    depths=st.tuples(*[st.integers(1, 4)] * 4),
    seed=st.randoms(use_true_random=False),
)
def test_every_printed_architecture_parses_back(
    kind: BlockKind, depths: tuple[int, ...], seed: random.Random
) -> None:
    text = ", ".join(
        "["
        + "-".join(
            f"({', '.join(str(seed.randint(1, 99)) for _ in range(kind.num_channels))})"
            for _ in range(depth)
        )
        + "]"
        for depth in depths
    )
    assert encode(parse(text, kind, strict=True)) == text


def test_groups_and_stem_are_given_beside_the_text() -> None:
    original = preset("resnext101_32x4d")
    parsed = parse(encode(original), BlockKind.BOTTLENECK, groups=32)
    assert parsed == original


def test_groups_of_a_pruned_resnext_are_given_block_by_block() -> None:
    # Stage 1 of the papers' X101 student: whole groups of 4 channels are gone.
    text = (
        "[(112, 112, 256)-(124, 124, 256)], [(256, 256, 512)], [(512, 512, 1024)], "
        "[(1024, 1024, 2048)]"
    )
    groups = ((28, 31), (32,), (32,), (32,))
    parsed = parse(text, BlockKind.BOTTLENECK, groups=groups, strict=True)
    assert parsed.groups == groups
    assert encode(parsed) == text


@pytest.mark.parametrize("groups", [((1, 1), (1,), (1,)), ((1,), (1,), (1,), (1,))])
def test_groups_for_other_blocks_than_the_texts_are_refused(
    groups: tuple[tuple[int, ...], ...],
) -> None:
    text = "[(8, 8)-(8, 8)], [(16, 16)], [(32, 32)], [(64, 64)]"
    with pytest.raises(EncodingError, match=r"one for each block of stages with \[2, 1, 1, 1\]"):
        parse(text, BlockKind.BASIC, groups=groups)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_published_backbone_is_what_its_text_says(name: str) -> None:
    original = preset(name)
    assert parse(encode(original), original.kind, strict=True) == original


def test_inverted_residuals_print_expansion_and_output() -> None:
    assert encode(preset("mobilenet_v2")).startswith("[(96, 24)-(144, 24)], [(144, 32)-")
