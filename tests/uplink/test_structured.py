"""Dictionaries of RFC 8941, with examples written after the RFC's text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uplink.structured import FieldError, parse_dictionary, write_dictionary


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", {}),
        ("  a=1", {"a": 1}),
        ("a=1 ,\tb=-2", {"a": 1, "b": -2}),
        ('en="Applepie", da=:w4ZibGV0w6ZydGU=:', {"en": "Applepie", "da": "Æbletærte".encode()}),
        ("a=?0, b, c=?1", {"a": False, "b": True, "c": True}),
        ('say="a \\"b\\" \\\\ c"', {"say": 'a "b" \\ c'}),
        ("t=foo123/456", {"t": "foo123/456"}),
        ("n=999999999999999", {"n": 999999999999999}),
        ("after-epoch=x, head-time=7", {"after-epoch": "x", "head-time": 7}),
    ],
)
def test_what_the_rfc_shows_is_read(text: str, members: dict[str, object]) -> None:
    assert parse_dictionary(text) == members


@pytest.mark.parametrize(
    "text",
    [
        "a=1,",
        ",a=1",
        "a=1 b=2",
        "A=1",
        "a=",
        "a= 1",
        "a=1.5",
        "a=(1 2)",
        "a=1;p=2",
        "a=1, a=2",
        'a="open',
        'a="\\n"',
        'a="Æ"',
        "a=:not base64:",
        "a=:QQ:",
        "a=?2",
        "n=9999999999999999",
        "a=1" + " " * 3000,
    ],
)
def test_what_is_no_dictionary_of_ours_is_refused(text: str) -> None:
    with pytest.raises(FieldError):
        parse_dictionary(text)


_values = st.one_of(
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.booleans(),
    st.binary(max_size=40),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40),
)


@given(st.dictionaries(st.from_regex(r"[a-z*][a-z0-9_\-.*]{0,10}", fullmatch=True), _values, max_size=8))
def test_what_is_written_is_read_back(members: dict[str, int | bool | bytes | str]) -> None:
    assert parse_dictionary(write_dictionary(members)) == members


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        members = parse_dictionary(text)
    except FieldError:
        return
    assert parse_dictionary(write_dictionary(members)) == members


@pytest.mark.parametrize("value", ["Æ", "a\nb", 10**15])
def test_what_a_field_cannot_carry_is_not_written(value: str | int) -> None:
    with pytest.raises(FieldError):
        write_dictionary({"a": value})
