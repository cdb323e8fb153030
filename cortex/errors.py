"""The one exception that a user is meant to read."""


class InputError(ValueError):
    """Something the user gave is wrong: one line saying what, where (file, key, member) and what is allowed."""
