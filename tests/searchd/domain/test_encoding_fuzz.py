"""Whatever text is given as an encoding, the answer is an architecture or a clear refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchd.domain.architecture import BlockKind
from searchd.domain.encoding import encode, parse
from searchd.domain.errors import InvalidValueError

GOOD = "[(64, 64)], [(128, 128)-(128, 128)], [(256, 256)], [(512, 512)]"
TOKENS = st.sampled_from(
    ["[", "]", "(", ")", ",", "-", " ", "\u2013", "\\text{-}", "$", "\n", "\0", "\ud800", "\u0663"]
)
NUMBERS = st.integers(min_value=-1, max_value=10**20).map(str)


def _is_read_or_refused(text: str, kind: BlockKind) -> None:
    try:
        architecture = parse(text, kind)
    except InvalidValueError:
        return
    assert len(architecture.stages) == 4
    assert parse(encode(architecture), kind, strict=True) == architecture


@given(st.text(), st.sampled_from(BlockKind))
def test_any_text_is_read_or_refused(text: str, kind: BlockKind) -> None:
    _is_read_or_refused(text, kind)


@given(st.lists(TOKENS | NUMBERS, max_size=60).map("".join), st.sampled_from(BlockKind))
def test_any_string_of_the_encodings_parts_is_read_or_refused(text: str, kind: BlockKind) -> None:
    _is_read_or_refused(text, kind)


@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 5),
    TOKENS | NUMBERS,
    st.sampled_from(BlockKind),
)
def test_a_damaged_encoding_is_read_or_refused(
    start: int, length: int, put: str, kind: BlockKind
) -> None:
    _is_read_or_refused(GOOD[:start] + put + GOOD[start + length :], kind)


@pytest.mark.parametrize("number", ["9" * 5000, "0", "-1", "1.5", "1e3", "\u0663"])
def test_a_number_that_is_no_channel_count_is_refused(number: str) -> None:
    with pytest.raises(InvalidValueError):
        parse(GOOD.replace("(64, 64)", f"(64, {number})"), BlockKind.BASIC)


def test_an_endless_encoding_is_refused_at_once() -> None:
    with pytest.raises(InvalidValueError):
        parse("[" + "(64, 64)-" * 100_000, BlockKind.BASIC)
