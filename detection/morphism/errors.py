"""The one way in which a legal action ends without a new student."""


class NothingToDo(Exception):
    """The action is legal, but nothing is left that it could change."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """Why, in words; stored with the trial."""
