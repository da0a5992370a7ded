"""Types and values in words."""

from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from agent.config.wording import describe, near_miss, shown


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Annotated[int, Meta(ge=1, le=9)], "a whole number from 1 to 9"),
        (Annotated[float, Meta(gt=0, le=600)], "a number above 0, at most 600"),
        (Annotated[int, Meta(ge=1)], "a whole number of at least 1"),
        (Annotated[float, Meta(le=2)], "a number of at most 2"),
        (int, "a whole number"),
        (bool, "`true` or `false`"),
        (Literal["a", "b"], "one of `a`, `b`"),
        (tuple[str, ...], "a list, each a text"),
        (dict[str, str], "a table"),
        (str | None, "a text"),
        (Annotated[str, Meta(pattern="^[A-Z]{2}$")], "two capital letters"),
    ],
)
def test_a_type_is_told_in_words(kind: Any, words: str) -> None:
    assert describe(kind) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "`true`"), (7, "`7`"), ("x", '"x"'), ("x" * 61, "a long text"), ([1], "a list"), ({"a": 1}, "a table")],
)
def test_a_value_is_shown_as_its_writer_knows_it(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_near_word_is_found_and_a_far_one_is_not() -> None:
    known = ("password", "listen", "path")
    assert near_miss("pasword", known) == "did you mean `password`?"
    assert near_miss("Listen", known) == "did you mean `listen`?"
    assert near_miss("colour", known) == ""
