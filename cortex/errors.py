"""The exceptions that a user is meant to read."""


class InputError(ValueError):
    """Something the user gave is wrong: one line saying what, where (file, key, member) and what is allowed."""


class StoppedError(Exception):
    """A signal stopped the work at a good moment; what was done is kept, and the same command goes on from there."""
