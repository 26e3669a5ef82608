"""Check of arguments that are one of a few words."""

from typing import Any, get_args


def check_choice(name: str, value: object, choices: Any) -> None:  # noqa: ANN401 - a Literal
    """ValueError, naming the argument, unless its value is one of a `Literal`'s."""
    words = get_args(choices)
    if value not in words:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}, not {value!r}")
