"""Types in words: one wording for error messages and for the reference page.

`describe(type)` says what a key may hold; `shown(value)` says what it holds, short, and never a structure's inside.
"""

import difflib
from collections.abc import Iterable
from typing import Any

from msgspec import inspect

SHOWN_MAX_CHARS = 60
"""A value longer than this is named by its type only; a line of a terminal should hold the whole message."""

KNOWN_PATTERNS = {
    r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$": "a UUID in lower case",
    r"^[A-Z]{2}$": "two capital letters",
    r"^[A-Z]{3}\Z": "three capital letters",
    r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,8})?\Z": "a price as text, not negative, of up to 8 decimals, such as `0.02`",
    r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?\Z": "a quantity as text, not negative, such as `1000`",
    r"^((0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?)?\Z": "a quantity as text, such as `1000`, or nothing",
    r"^[0-9*#+]*$": "digits, `*`, `#` or `+`",
    r"^[a-z0-9][a-z0-9-]{0,62}$": "a name of `a`-`z`, `0`-`9` and `-`, at most 63 characters",
}


def describe(kind: Any) -> str:
    """What a value of this type is, in words: `a whole number from 1 to 3600`."""
    return _in_words(inspect.type_info(kind))


def _in_words(info: inspect.Type) -> str:
    if isinstance(info, inspect.Metadata):
        return _in_words(info.type)
    if isinstance(info, (inspect.IntType, inspect.FloatType)):
        return _number(info)
    if isinstance(info, inspect.StrType):
        return KNOWN_PATTERNS.get(info.pattern, f"a text like `{info.pattern}`") if info.pattern else "a text"
    if isinstance(info, inspect.LiteralType):
        return _one_of(info.values)
    if isinstance(info, (inspect.VarTupleType, inspect.ListType)):
        return f"a list, each {_in_words(info.item_type)}"
    if isinstance(info, inspect.UnionType):
        return " or ".join(_in_words(one) for one in info.types if not isinstance(one, inspect.NoneType))
    return _PLAIN.get(type(info), "a value")


_PLAIN: dict[type[inspect.Type], str] = {
    inspect.BoolType: "`true` or `false`",
    inspect.DictType: "a table",
    inspect.StructType: "a table",
    inspect.DateTimeType: "a date and time",
    inspect.DateType: "a date",
    inspect.TimeType: "a time",
}


def _number(info: inspect.IntType | inspect.FloatType) -> str:
    text = "a whole number" if isinstance(info, inspect.IntType) else "a number"
    low, high = info.ge, info.le
    if low is not None and high is not None:
        return f"{text} from {low} to {high}"
    if low is not None:
        return f"{text} of at least {low}"
    if info.gt is not None:
        return f"{text} above {info.gt}" + (f", at most {high}" if high is not None else "")
    return f"{text} of at most {high}" if high is not None else text


def _one_of(values: Iterable[Any]) -> str:
    texts = [f"`{value}`" for value in sorted(values, key=str)]
    return texts[0] if len(texts) == 1 else "one of " + ", ".join(texts)


def shown(value: object) -> str:
    """A value as its writer would recognise it: `"Eurpe/Berlin"`, `0`, `a table`."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= SHOWN_MAX_CHARS else "a long text"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return f"`{value}`"


def near_miss(word: str, known: Iterable[str]) -> str:
    """`did you mean `x`?`, or nothing where no known word is near. Letter case does not count."""
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean `{by_lower[found[0]]}`?" if found else ""
