import pytest

from searchd.domain.errors import InvalidValueError
from searchd.domain.trial import Outcome
from searchd.search.history import Completion
from searchd.search.strategy import Strategy
from tests.searchd.search.scripted import RULES, ask


def test_completion_without_a_score_is_no_success() -> None:
    with pytest.raises(InvalidValueError, match="score and architecture belong to a success"):
        Completion(sequence=0, proposal=ask(Strategy(RULES)), outcome=Outcome.SUCCEEDED)
