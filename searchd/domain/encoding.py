r"""The text form of an architecture: parse and print it. Standard library only.

The form is that of Joint-DetNAS, appendix B (docs/papers.md 1.4): backbone stages in "[ ]", joined
by ", ", and blocks in "( )", joined by "-":

    [(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)]

An inverted residual is (e, c_out). The text does not contain the block kind, groups, stem width,
shortcuts, and which blocks are deformable. The first three are arguments of `parse`, shortcuts
follow from channels and stride, and no parsed block is deformable. The database stores JSON
(`Architecture`) instead.
"""

import re
from collections.abc import Sequence

from searchd.domain.architecture import Architecture, BlockKind, with_implied_shortcuts
from searchd.domain.errors import EncodingError, InvalidValueError

_LATEX_REMAINS = (
    (re.compile(r"\\text\s*\{\s*([^}]*)\}"), r"\1"),  # \text{-} -> -
    (re.compile(r"\\\s"), " "),  # "\ " -> " "
    (re.compile("[\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{NON-BREAKING HYPHEN}]"), "-"),
    (re.compile(r"\$"), ""),
    (re.compile(r"\s+"), ""),
)
_NUMBER = "[0-9]{1,9}"  # Python refuses to read a number with thousands of digits
_BLOCK = rf"\({_NUMBER}(?:,{_NUMBER})*\)"
_STAGE = re.compile(rf"\[({_BLOCK}(?:-{_BLOCK})*)\](,|$)")


def parse(
    text: str,
    kind: BlockKind,
    *,
    groups: int | Sequence[Sequence[int]] = 1,
    stem_channels: int | None = None,
    strict: bool = False,
) -> Architecture:
    """Read the text form of an architecture.

    Args:
        text: The encoding.
        kind: Kind of all blocks.
        groups: Groups of the 3x3 convolution of every bottleneck: one number for all blocks, or one
            for every block of every stage (`Architecture.groups`), since pruning can make them
            differ.
        stem_channels: Outputs of the stem's first convolution. None: as published for the kind.
        strict: Whether to accept the canonical text only. Otherwise a missing first "[" or last
            "]", extra white space, and LaTeX remains of the papers are repaired.

    Raises:
        EncodingError: The text does not parse, or does not describe a valid architecture.
    """
    widths = _widths(_repair(text))
    try:
        architecture = with_implied_shortcuts(
            kind,
            widths,
            groups=groups,
            stem_channels=kind.stem_channels if stem_channels is None else stem_channels,
        )
    except InvalidValueError as error:
        raise EncodingError(str(error)) from error
    if strict and encode(architecture) != text:
        raise EncodingError(f"not canonical: expected {encode(architecture)!r}, got {text!r}")
    return architecture


def encode(architecture: Architecture) -> str:
    """Return the canonical text form. `parse` reads it, apart from what the text does not
    contain."""
    return ", ".join(
        "[" + "-".join(f"({', '.join(map(str, block.channels))})" for block in stage) + "]"
        for stage in architecture.stages
    )


def _widths(repaired: str) -> list[list[tuple[int, ...]]]:
    """Return the channels of every block of every stage."""
    stages: list[list[tuple[int, ...]]] = []
    position = 0
    while position < len(repaired):
        match = _STAGE.match(repaired, position)
        if match is None:
            raise EncodingError(
                f"encoding does not parse at {repaired[position : position + 30]!r} (stage "
                f"{len(stages) + 1}); expected [(c1, ..., c_out)-(...)] for each of 4 stages"
            )
        stages.append(
            [
                tuple(int(number) for number in block[1:-1].split(","))
                for block in match.group(1).split("-")
            ]
        )
        position = match.end()
    return stages


def _repair(text: str) -> str:
    for pattern, replacement in _LATEX_REMAINS:
        text = pattern.sub(replacement, text)
    text = text.rstrip(",.;")
    if text.startswith("("):
        text = "[" + text
    if text.endswith(")"):
        text += "]"
    return text
