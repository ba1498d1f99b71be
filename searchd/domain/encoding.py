r"""The papers' text form of an architecture: parse and print. Standard library only.

Joint-DetNAS appendix B. Stages in "[ ]" joined by ", ", blocks in "( )" joined by "-":

    [(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)]

An inverted residual is (e, c_out). The text loses block kind, groups, stem width, shortcuts and
which blocks are deformable: the first three are given beside it, shortcuts follow from channels and
stride, no block is deformable. The stored form is JSON (`Architecture`).
"""

import re
from collections.abc import Sequence

from searchd.domain.architecture import Architecture, BlockKind, with_implied_shortcuts
from searchd.domain.errors import EncodingError, InvalidValueError

_DEBRIS = (
    (re.compile(r"\\text\s*\{\s*([^}]*)\}"), r"\1"),  # \text{-} -> -
    (re.compile(r"\\\s"), " "),  # "\ " -> " "
    (re.compile("[\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{NON-BREAKING HYPHEN}]"), "-"),
    (re.compile(r"\$"), ""),
    (re.compile(r"\s+"), ""),
)
_NUMBER = "[0-9]{1,9}"  # Python reads no number of thousands of digits
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
        kind: Block kind, which the text does not hold.
        groups: Groups of the 3x3 convolution of every bottleneck; or, where pruning has made them
            differ, for each stage, for each block (`Architecture.groups`).
        stem_channels: Outputs of the stem's first convolution; None as published for the kind.
        strict: Accept the canonical text only. Otherwise a missing first "[" or last "]", any
            white space and the papers' LaTeX debris are repaired.

    Raises:
        EncodingError: The text does not parse, or describes no valid architecture.
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
    """The canonical text form; `parse` reads it back, up to what the text form loses."""
    return ", ".join(
        "[" + "-".join(f"({', '.join(map(str, block.channels))})" for block in stage) + "]"
        for stage in architecture.stages
    )


def _widths(repaired: str) -> list[list[tuple[int, ...]]]:
    """For each stage, for each block its channels."""
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
    for pattern, replacement in _DEBRIS:
        text = pattern.sub(replacement, text)
    text = text.rstrip(",.;")
    if text.startswith("("):
        text = "[" + text
    if text.endswith(")"):
        text += "]"
    return text
