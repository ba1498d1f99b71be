r"""The papers' text form of an architecture: parse and print. Standard library only.

Joint-DetNAS (004) appendix B. Stages in "[ ]" joined by ", ", blocks in "( )" joined by "-":

    [(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)]

The text loses block kind, groups, stem width and shortcuts: the first three are given beside it,
shortcuts follow from channels and stride. The stored form is JSON (`Architecture`).
"""

import re

from searchd.domain.architecture import Architecture, Block, BlockKind, implied_shortcut
from searchd.domain.errors import EncodingError, InvalidValueError

_DEBRIS = (
    (re.compile(r"\\text\s*\{\s*([^}]*)\}"), r"\1"),  # \text{-} -> -
    (re.compile(r"\\\s"), " "),  # "\ " -> " "
    (re.compile("[\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{NON-BREAKING HYPHEN}]"), "-"),
    (re.compile(r"\$"), ""),
    (re.compile(r"\s+"), ""),
)
_BLOCK = r"\(\d+(?:,\d+)*\)"
_STAGE = re.compile(rf"\[({_BLOCK}(?:-{_BLOCK})*)\](,|$)")


def parse(
    text: str,
    kind: BlockKind,
    *,
    groups: int = 1,
    stem_channels: int = 64,
    strict: bool = False,
) -> Architecture:
    """Read the text form of an architecture.

    Args:
        text: The encoding.
        kind: Block kind, which the text does not hold.
        groups: Groups of every 3x3 convolution of a bottleneck.
        stem_channels: Output channels of the stem.
        strict: Accept the canonical text only. Otherwise a missing first "[" or last "]", any
            white space and the papers' LaTeX debris are repaired.

    Raises:
        EncodingError: The text does not parse, or describes no valid architecture.
    """
    repaired = _repair(text)
    stages: list[tuple[Block, ...]] = []
    in_channels = stem_channels
    position = 0
    while position < len(repaired):
        match = _STAGE.match(repaired, position)
        if match is None:
            raise EncodingError(
                f"encoding does not parse at {repaired[position : position + 30]!r} (stage "
                f"{len(stages) + 1}); expected [(c1, ..., c_out)-(...)] for each of 4 stages"
            )
        blocks = []
        for index, tuple_text in enumerate(match.group(1).split("-")):
            channels = tuple(int(number) for number in tuple_text[1:-1].split(","))
            stride = 2 if stages and index == 0 else 1
            try:
                block = Block(
                    channels=channels,
                    stride=stride,
                    shortcut=implied_shortcut(in_channels, channels[-1], stride),
                    groups=groups,
                )
            except InvalidValueError as error:
                raise EncodingError(f"stage {len(stages) + 1}, block {index}: {error}") from error
            blocks.append(block)
            in_channels = channels[-1]
        stages.append(tuple(blocks))
        position = match.end()
    try:
        architecture = Architecture(kind=kind, stages=tuple(stages), stem_channels=stem_channels)
    except InvalidValueError as error:
        raise EncodingError(str(error)) from error
    if strict and encode(architecture) != text:
        raise EncodingError(f"not canonical: expected {encode(architecture)!r}, got {text!r}")
    return architecture


def encode(architecture: Architecture) -> str:
    """The canonical text form; `parse` reads it back, up to what the text form loses."""
    return ", ".join(
        "[" + "-".join(f"({', '.join(map(str, block.channels))})" for block in stage) + "]"
        for stage in architecture.stages
    )


def _repair(text: str) -> str:
    for pattern, replacement in _DEBRIS:
        text = pattern.sub(replacement, text)
    text = text.rstrip(",.;")
    if text.startswith("("):
        text = "[" + text
    if text.endswith(")"):
        text += "]"
    return text
