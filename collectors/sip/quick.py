"""The quick way to read a whole message that is nothing unusual.

Laws
- `quick` takes a message that `brief` could read, and gives what `parse` gives; or None where anything about it is out of
  the ordinary (a folded line, a compact or oddly spelled name, a doubled header that matters, an odd From, To or
  Content-Length): then `parse` must be asked. A property test holds the two to each other.
"""

from itertools import repeat

from collectors.sip.address import URI_MAX_BYTES, usual
from collectors.sip.brief import Brief
from collectors.sip.message import Message, parse
from collectors.sip.names import NAMES, are_plain

_cut, _MARK = bytes.partition, repeat(b": ")

_MATTERS = frozenset(NAMES) - {b"Via"}


def quick(data: bytes, short: Brief) -> Message | None:
    method, status, call_id, cseq = short
    line, end = data.find(b"\r\n"), data.find(b"\r\n\r\n")
    lines = data[line + 2 : end].split(b"\r\n")
    first = {name: value for name, mark, value in map(_cut, lines, _MARK) if mark}
    names = first.keys()
    if not are_plain(names):
        return None
    if len(first) != len(lines):
        if _is_doubtful(lines):
            return None
        first = {name: value for name, _, value in map(_cut, reversed(lines), _MARK)}
    uri = b"" if status else data[len(method) + 1 : line - 8]
    body = data[end + 4 :]
    length = first.get(b"Content-Length")
    if length is not None:
        if not length.isdigit() or len(length) > 8 or int(length) > len(body):
            return None
        body = body[: int(length)]
    if method and (cseq[-len(method) :] != method or uri[:1] == b"<" or len(uri) > URI_MAX_BYTES or _odd(first)):
        return None
    if status:
        return Message(method, uri, status, call_id, cseq, first, [], body, [])
    sender, target = usual(first.get(b"From", b"")), usual(first.get(b"To", b""))
    if sender is None or target is None:
        return None
    parties = sender[1], sender[2] or b"", target[2] or b""
    return Message(method, uri, status, call_id, cseq, first, [], body, [], parties)


def _is_doubtful(lines: list[bytes]) -> bool:
    """Whether a line is no header in the usual form, or a header that is read stands there twice, or one of several Via is
    odd."""
    seen = set()
    for line in lines:
        name, mark, value = line.partition(b": ")
        if not mark or name in seen or (name == b"Via" and _odd({name: value})):
            return True
        if name in _MATTERS:
            seen.add(name)
    return False


def _odd(first: dict[bytes, bytes]) -> bool:
    told = first.get(b"Via", b"") + first.get(b"Contact", b"")
    return told.find(b";;") >= 0 or (_COMMA in told and (b",," in told or b",;" in told))


_COMMA = 0x2C


def read(data: bytes, short: Brief, counters: dict[str, int]) -> Message:
    """The message, by the quicker way where it can be; what is wrong with one that can be used is counted."""
    message = quick(data, short)
    if message is None:
        message = parse(data)
        if message.problems:
            counters["malformed"] += 1
    return message
