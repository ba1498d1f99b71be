"""The error of a legal action that cannot change its student."""


class NothingToDo(Exception):
    """The action is legal, but nothing is left that it could change."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """The reason as a text; stored with the trial."""
