"""The one exception that tells a user, rather than a developer, what is wrong."""


class UserError(Exception):
    """Something the user can mend; its message is one line: what, in which file, what to do."""
