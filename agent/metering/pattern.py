"""Number patterns as Asterisk writes them: `X` 0-9, `Z` 1-9, `N` 2-9, a trailing `.` one or more characters.

Source: Asterisk documentation, "Pattern Matching". A leading `_` is allowed and means nothing here, for every pattern is one.
"""

import re
from functools import lru_cache

_CLASS = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]"}


@lru_cache(maxsize=256)
def compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression that matches a number when any of `patterns` does; none matches nothing."""
    return re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns) or r"(?!)")


def _expression(pattern: str) -> str:
    body = pattern.removeprefix("_")
    tail = ".+" if body.endswith(".") else ""
    return "".join(_CLASS.get(char, re.escape(char)) for char in body.removesuffix(".")) + tail


def matches(patterns: tuple[str, ...], number: str) -> bool:
    return compiled(patterns).fullmatch(number) is not None
