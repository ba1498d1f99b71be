import pytest

from searchd.domain.errors import InvalidValueError
from searchd.domain.trial import Outcome
from searchd.search.ask_tell import AskTell
from searchd.search.history import Completion
from tests.searchd.search.scripted import STRATEGY, ask


def test_completion_without_a_score_is_no_success() -> None:
    with pytest.raises(InvalidValueError, match="score and architecture belong to a success"):
        Completion(sequence=0, proposal=ask(AskTell(STRATEGY)), outcome=Outcome.SUCCEEDED)
