"""Structured Fields for HTTP (RFC 8941, RFC 9651): the dictionaries that the contract uses, and no more.

Laws
- A dictionary holds integers, strings, byte sequences, tokens and booleans; anything else (decimals, inner lists,
  parameters) is an error: version 1 of the contract has no use for it, and what is not understood must not be guessed.
- Two members with one name are an error. RFC 8941 section 4.2.2 lets the last one win; two receivers that disagree on
  which one counts is how evidence is forged.
- Order and spelling of what is written are fixed, so that the same head is the same bytes.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping

FIELD_MAX_CHARS = 2048
"""A whole head is about 330 characters; aiohttp refuses a header line over 8,190."""
INTEGER_MAX_DIGITS = 15
"""RFC 8941 section 3.3.1."""

Bare = int | str | bytes | bool


class FieldError(ValueError):
    """A field value that is no dictionary of ours."""


_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BYTES = re.compile(r":([A-Za-z0-9+/=]*):")
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_BOOLEAN = re.compile(r"\?([01])")
_ESCAPE = re.compile(r"\\(.)")
_COMMA = re.compile(r"[ \t]*,[ \t]*")


def _integer(match: re.Match[str]) -> Bare:
    return int(match[0])


def _string(match: re.Match[str]) -> Bare:
    return _ESCAPE.sub(r"\1", match[1])


def _bytes(match: re.Match[str]) -> Bare:
    try:
        return base64.b64decode(match[1], validate=True)
    except binascii.Error as error:
        raise FieldError(f"byte sequence is not base64: {error}") from None


def _token(match: re.Match[str]) -> Bare:
    return match[0]


def _boolean(match: re.Match[str]) -> Bare:
    return match[1] == "1"


_READERS = ((_INTEGER, _integer), (_STRING, _string), (_BYTES, _bytes), (_TOKEN, _token), (_BOOLEAN, _boolean))


def _bare(text: str, at: int) -> tuple[Bare, int]:
    for pattern, read in _READERS:
        if match := pattern.match(text, at):
            return read(match), match.end()
    raise FieldError(f"no value that is understood at character {at + 1}")


def _members(text: str) -> Iterator[tuple[str, Bare]]:
    at = 0
    while at < len(text):
        key = _KEY.match(text, at)
        if key is None:
            raise FieldError(f"no name at character {at + 1}")
        at = key.end()
        value: Bare = True
        if text.startswith("=", at):
            value, at = _bare(text, at + 1)
        yield key[0], value
        if at == len(text):
            return
        comma = _COMMA.match(text, at)
        if comma is None or comma.end() == len(text):
            raise FieldError(f"no further member at character {at + 1}")
        at = comma.end()


def parse_dictionary(text: str) -> dict[str, Bare]:
    """The members of a field value. Raises FieldError."""
    if len(text) > FIELD_MAX_CHARS:
        raise FieldError(f"longer than {FIELD_MAX_CHARS} characters")
    members: dict[str, Bare] = {}
    for key, value in _members(text.strip(" ")):
        if key in members:
            raise FieldError(f"{key} stands twice")
        members[key] = value
    return members


def _write_text(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise FieldError("a string holds printable ASCII only")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write(value: Bare) -> str:
    if isinstance(value, bool):
        return f"?{value:d}"
    if isinstance(value, int):
        if len(str(abs(value))) > INTEGER_MAX_DIGITS:
            raise FieldError(f"an integer has at most {INTEGER_MAX_DIGITS} digits")
        return str(value)
    if isinstance(value, bytes):
        return f":{base64.b64encode(value).decode()}:"
    return _write_text(value)


def write_dictionary(members: Mapping[str, Bare]) -> str:
    """The field value of `members`, in their order. Texts are written as strings, never as tokens."""
    return ", ".join(key if value is True else f"{key}={_write(value)}" for key, value in members.items())
