"""The exceptions that a user is meant to read."""


class InputError(ValueError):
    """Something the user gave is wrong: one line saying what, where (file, key, member) and what is allowed."""


class StoppedError(Exception):
    """A signal stopped the work at a good moment; what was done is kept, and the same command goes on from there."""


def shown(text: str) -> str:
    """A name out of a file, on one line and not too long, whatever it holds."""
    return repr(text if len(text) <= 80 else text[:80] + "…")
