"""How many examples property tests try: a few in `make test`, many in `make fuzz`."""

import os

IS_FULL = "SEARCHD_FUZZ_EXAMPLES" in os.environ
"""Set by `make fuzz`; the value is the number of requests for each operation of the API."""


def examples(quick: int, full: int) -> int:
    """The number of examples of a property test, by which command runs it."""
    return full if IS_FULL else quick
