"""A base may name the licence of the weights that it starts from."""

import pytest
from pydantic import ValidationError

from searchd.spec import BaseSpec


def test_the_licence_is_any_text_and_unknown_by_default() -> None:
    assert BaseSpec().licence is None
    assert BaseSpec(licence="  CC-BY-4.0 ").licence == "CC-BY-4.0"


@pytest.mark.parametrize("text", ["", "  ", "a" * 201])
def test_a_licence_is_no_blank_and_no_page(text: str) -> None:
    with pytest.raises(ValidationError, match="licence"):
        BaseSpec(licence=text)
