"""What a description of an option, a parameter or a field must be: a sentence that stands alone."""

MIN_CHARACTERS, MIN_WORDS = 20, 4
FRAGMENTS = ("Of ", "As ", "See ")


def fault(description: str | None) -> str | None:
    """Return what is wrong with a description, or None."""
    text = " ".join((description or "").split())
    if len(text) < MIN_CHARACTERS or len(text.split()) < MIN_WORDS:
        return f"too short: {text!r}"
    if not text[0].isupper() or text.startswith(FRAGMENTS):
        return f"begins like a fragment: {text!r}"
    if not text.endswith("."):
        return f"does not end with a full stop: {text!r}"
    return f"not plain: {text!r}" if "so many" in text else None
