"""The errors of searchd that a caller may want to catch. Standard library only.

SearchdError
├── InvalidValueError (also a ValueError)   a user's value breaks a rule; the message names both
│   ├── InvalidFieldError                   a field of a spec breaks a rule; names the field
│   ├── EncodingError                       an architecture's text form does not parse
│   └── IllegalActionError                  an action does not apply to this architecture
├── IllegalTransitionError                  a status transition that is not allowed
├── NotFoundError                           the resource does not exist
├── ConflictError                           the resource's state does not allow the call
│   └── StaleLeaseError                     a driver wrote after it had lost its lease
├── ArtifactError                           a stored file is missing or its SHA-256 differs
│   └── CollectedError                      garbage collection removed the file
├── CheckpointError                         a user's checkpoint is unreadable or does not fit
├── ParityError                             an export does not find what its detector finds
├── ClusterUnreachableError                 Ray does not answer
└── DataError                               a data set breaks a rule; names the file and the record
"""


class SearchdError(Exception):
    """Base class of all errors of searchd."""


class InvalidValueError(SearchdError, ValueError):
    """A value given by a user breaks a rule. The message states the value and the rule."""


class InvalidFieldError(InvalidValueError):
    """Fields of a spec break rules.

    Args:
        problems: For each field its path, such as "score.device" or "paths[0]" (empty: no single
            field), and what is wrong with it.
    """

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{path}: {text}" if path else text for path, text in problems))
        self.problems = problems


class EncodingError(InvalidValueError):
    """The text form of an architecture does not parse."""


class IllegalActionError(InvalidValueError):
    """The action cannot be applied to this architecture."""


class IllegalTransitionError(SearchdError):
    """The transition table of the status does not contain the requested transition."""


class NotFoundError(SearchdError):
    """The resource does not exist."""


class ConflictError(SearchdError):
    """The resource exists, but its current state does not allow the call."""


class StaleLeaseError(ConflictError):
    """The driver has lost its lease and must stop at once."""


class ArtifactError(SearchdError):
    """A stored file is missing, or its content does not match its SHA-256."""

    def __init__(self, message: str, uri: str = "") -> None:
        """
        Args:
            message: Description of the error.
            uri: URI of the file.
        """
        super().__init__(message)
        self.uri = uri


class CollectedError(ArtifactError):
    """The file was removed by garbage collection, since nothing needed it any more."""


class CheckpointError(SearchdError):
    """A user's checkpoint cannot be read, or is not of a detector that can be searched."""


class ParityError(SearchdError):
    """An exported detector does not find what the detector finds. The message names the image and
    the difference."""


class ClusterUnreachableError(SearchdError):
    """Ray does not answer or refuses the call. Its jobs keep running; try again later."""


class DataError(SearchdError):
    """A data set breaks a rule. The message names the file and the record."""
