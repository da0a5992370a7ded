"""Syslog's own wrapping: what stands around a device's text, and how a connection's octets are cut into messages. Pure.

Laws
- `unwrap` never raises: what has no known head is all text.
- `SyslogFramer.feed` gives the same messages however the octets are cut; what it keeps is less than MESSAGE_MAX_BYTES.

Forms: RFC 5424; RFC 3164 as devices write it (the head's time and host may be missing); over TCP octet counting and LF
(RFC 6587).
"""

import re

from msgspec import Struct

MESSAGE_MAX_BYTES = 65_535
"""RFC 5425 section 4.3.1 asks for 8,192 at least; a SIP message with its body may have 64 kB."""

_PRI = rb"<(?P<pri>[0-9]{1,3})>"
_5424 = re.compile(
    _PRI + rb"1 (?P<time>\S+) (?P<host>\S+) \S+ \S+ \S+ (?:-|(?:\[(?:[^\]\\]|\\.)*\])+) ?(?:\xef\xbb\xbf)?"
)
_3164 = re.compile(
    rb"(?:" + _PRI + rb")?"
    rb"(?:(?P<time>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}T\S+) "
    rb"(?:(?P<host>[^\s:\[]+) (?:[a-z][\w./-]{2,47}: )?)?)?"
    rb"(?:[A-Za-z][\w./-]{0,47}\[[0-9]{1,10}\]: )?"
)
"""A tag without a process id is taken for one only where it cannot be a SIP header: behind a host, in lower case."""
_ESCAPED = re.compile(rb"#0(15|12|11)")
_CONTROLS = {b"15": b"\r", b"12": b"\n", b"11": b"\t"}


class Wrapped(Struct, frozen=True):
    """`host` and `time` are what the head says, empty where it does not; `head`: whether there is one at all."""

    text: bytes
    host: str = ""
    time: str = ""
    head: bool = True


def unwrap(message: bytes) -> Wrapped:
    """rsyslog writes control characters as `#` and three octal digits: they are put back."""
    found = _5424.match(message) or _3164.match(message)
    if not found or not found.end():
        return Wrapped(_ESCAPED.sub(lambda one: _CONTROLS[one[1]], message), head=False)
    host, time = found["host"] or b"", found["time"] or b""
    text = _ESCAPED.sub(lambda one: _CONTROLS[one[1]], message[found.end() :])
    return Wrapped(text, host.decode("ascii", "replace"), time.decode("ascii", "replace"))


_COUNT = re.compile(rb"([1-9][0-9]{0,8}) <")


class SyslogFramer(Struct, array_like=True):
    """The unfinished rest of one connection."""

    rest: bytes = b""
    dropped: int = 0
    """Messages that were too long."""

    def feed(self, data: bytes) -> list[bytes]:
        buffer = self.rest + data if self.rest else data
        messages: list[bytes] = []
        at = 0
        while at < len(buffer):
            begin, end = _message(buffer, at)
            if end > MESSAGE_MAX_BYTES + begin:
                self.dropped += 1
                end = begin + MESSAGE_MAX_BYTES
            if end < 0 or end > len(buffer):
                break
            messages.append(buffer[begin:end])
            at = end + (buffer[end : end + 1] == b"\n" and begin == at)
        self.rest = buffer[at:]
        if len(self.rest) > MESSAGE_MAX_BYTES:
            self.dropped += 1
            self.rest = b""
        return [message for message in messages if message.strip()]


def _message(buffer: bytes, at: int) -> tuple[int, int]:
    """Where the message at `at` begins and ends; the end is -1 where it has not come."""
    counted = _COUNT.match(buffer, at)
    if counted:
        begin = counted.end() - 1
        return begin, begin + int(counted[1])
    return at, buffer.find(b"\n", at)
