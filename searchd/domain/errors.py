"""Every error of searchd that a caller may want to catch. Standard library only.

SearchdError
├── InvalidValueError (also a ValueError)   a user's value breaks a rule; the message names both
│   ├── EncodingError                       an architecture's text form does not parse
│   └── IllegalActionError                  an action does not apply to this architecture
├── IllegalTransitionError                  a status may not move there from here
├── NotFoundError                           no such resource
├── ConflictError                           the resource's state forbids the call
│   └── StaleLeaseError                     a driver wrote after it had lost its piece of work
├── ArtifactError                           a stored file is missing or its SHA-256 differs
│   └── CollectedError                      it was removed, since nothing needed it any more
├── CheckpointError                      a user's checkpoint is unreadable or fits no base detector
├── ClusterUnreachableError                 Ray does not answer
└── DataError                               a data set breaks a rule; names the file and the record
"""


class SearchdError(Exception):
    """Root of the tree."""


class InvalidValueError(SearchdError, ValueError):
    """A value given by a user breaks a rule. The message states value and rule."""


class EncodingError(InvalidValueError):
    """The text form of an architecture does not parse."""


class IllegalActionError(InvalidValueError):
    """The action cannot be applied to this architecture."""


class IllegalTransitionError(SearchdError):
    """A status was asked to move where its transition table does not lead."""


class NotFoundError(SearchdError):
    """The resource does not exist."""


class ConflictError(SearchdError):
    """The resource exists, but its present state forbids the call."""


class StaleLeaseError(ConflictError):
    """The lease on the piece of work was lost. Its former holder must stop at once."""


class ArtifactError(SearchdError):
    """A stored file is missing, or its content does not match its SHA-256."""

    def __init__(self, message: str, uri: str = "") -> None:
        """
        Args:
            message: In words.
            uri: Where the file lies.
        """
        super().__init__(message)
        self.uri = uri


class CollectedError(ArtifactError):
    """The file was removed on purpose, since nothing needed it any more."""


class CheckpointError(SearchdError):
    """A user's checkpoint cannot be read, or is not of a detector that can be searched."""


class ClusterUnreachableError(SearchdError):
    """Ray does not answer, or refuses. What it runs goes on; ask again later."""


class DataError(SearchdError):
    """A data set breaks a rule. The message names the file and the record."""
