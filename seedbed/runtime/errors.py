"""The exception for what a user, rather than a developer, can correct."""


class UserError(Exception):
    """What is wrong, in which file, and what to do, in one line; commands end with it."""
