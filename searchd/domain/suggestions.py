"""Suggestions for words that users misspell. Standard library only."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_MAX_SHOWN = 80
"""Largest number of characters of a word that a message shows."""


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant; None if none is near.

    A word matches one that differs by spelling, case or separators ("learningRate"), its initials
    ("lr"), its first part ("batch"), or one that shares a part with it ("num_epochs").
    """
    words = sorted(set(known))
    for matches in (_same_letters, _initials, _beginning):
        found = [each for each in words if matches(word, each)]
        if len(found) == 1:
            return found[0]
    by_letters = {_letters(each): each for each in words}
    near = get_close_matches(_letters(word), by_letters, n=1, cutoff=_cutoff(word))
    if near:
        return by_letters[near[0]]
    shared = [each for each in words if set(_parts(each)) & set(_parts(word))]
    return shared[0] if len(shared) == 1 else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the suggestion; empty if there is none."""
    found = suggestion(word, known)
    return "" if found is None else f"; did you mean {found}?"


def unknown(noun: str, word: str, known: Sequence[str]) -> str:
    """Return that there is no such thing, which was probably meant, and which ones there are."""
    meant = did_you_mean(word, known)
    the = f"{meant} The" if meant else "; the"
    shown = word if len(word) <= _MAX_SHOWN else f"{word[:_MAX_SHOWN]}…"
    return f'there is no {noun} "{shown}"{the} {noun}s are {", ".join(known)}'


def one_of(words: Sequence[str]) -> str:
    """Return the words as an alternative: "a, b or c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _cutoff(word: str) -> float:
    """Return the smallest similarity of a near word; swapping two of three letters gives 0.66."""
    return 0.65 if len(word) < 5 else 0.7


def _letters(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


def _parts(word: str) -> list[str]:
    """Return the parts of a word that can identify it: those of at least four letters."""
    parts = re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", word)
    return [part.lower() for part in parts if len(part) >= 4]


def _same_letters(word: str, known: str) -> bool:
    return bool(_letters(word)) and _letters(word) == _letters(known)


def _initials(word: str, known: str) -> bool:
    return len(word) > 1 and word.lower() == "".join(part[:1] for part in known.split("_"))


def _beginning(word: str, known: str) -> bool:
    return len(word) > 3 and known.startswith(f"{word.lower()}_")
