"""SIP messages out of a stream's bytes (RFC 3261 section 18.3): Content-Length frames them.

Laws
- `feed` gives whole messages in order; it never raises. What is between messages (CRLF keep-alives, RFC 5626 section 3.5.1;
  bytes before the first start line of a stream that was joined in its midst) is skipped and counted.
- What is kept is less than `limit` bytes. Content-Length is never trusted beyond it, nor where it is no number.
"""

import re

from msgspec import Struct

from collectors.sip.names import METHODS

_STATUS = rb"SIP/2\.0 [1-6][0-9]{2}[ \r]"
_METHOD_AND_SCHEME = rb"[A-Z][A-Z0-9_!%*+`'~.-]{1,31} [A-Za-z][A-Za-z0-9+.-]{0,31}:"
_START = re.compile(_STATUS + rb"|" + _METHOD_AND_SCHEME + rb"[^\r\n]{1,4096} SIP/2\.0\r\n")
"""Where a message is due: blanks within the URI are borne."""
_LATER_START = re.compile(_STATUS + rb"|" + _METHOD_AND_SCHEME + rb"[^ \r\n]{1,4096} SIP/2\.0\r\n")
"""Somewhere further on: no octet is looked at for more than one line that it could belong to."""
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,10})[ \t]*(?=\r\n)", re.IGNORECASE)
_HEAD_TAIL_BYTES = 8_192
"""The longest beginning of a start line that is kept while waiting for its rest."""


class Framer(Struct):
    """The unfinished rest of one direction of one connection. `skipped_bytes`: bytes that belonged to no message."""

    limit: int
    rest: bytes = b""
    skipped_bytes: int = 0
    broken: int = 0
    """Messages given up: over the limit, or cut by a gap."""
    lost: bool = False
    """Bytes are missing before the next ones, which may begin within a start line."""

    def feed(self, data: bytes) -> list[bytes]:
        buffer = self.rest + data if self.rest else data
        messages: list[bytes] = []
        at = 0
        if self.lost:
            if b"\n" not in buffer and len(buffer) <= _HEAD_TAIL_BYTES:
                self.rest = buffer
                return messages
            at = _after_half_a_line(buffer)
            self.lost = False
        while at < len(buffer):
            begin = _next_start(buffer, at)
            self.skipped_bytes += begin - at
            at = begin
            size = message_size(buffer, at)
            if not size or at + size > len(buffer):
                break
            messages.append(buffer[at : at + size])
            at += size
        self.rest = buffer[at:]
        self._bound()
        return messages

    def gap(self) -> None:
        """Bytes are missing here: what was begun cannot be finished."""
        self.broken += bool(self.rest)
        self.skipped_bytes += len(self.rest)
        self.rest = b""
        self.lost = True

    def _bound(self) -> None:
        if len(self.rest) > self.limit:
            self.broken += 1
            self.skipped_bytes += len(self.rest)
            self.rest = b""


def _after_half_a_line(buffer: bytes) -> int:
    """Where to look from after bytes that are missing: the end of INVITE is a token as good as INVITE."""
    if _START.match(buffer) and not buffer.startswith(b"SIP/") and buffer[: buffer.find(b" ")] not in METHODS:
        return buffer.find(b"\n") + 1
    return 0


def _next_start(buffer: bytes, at: int) -> int:
    """Where the next start line begins, or where it could begin once more bytes are there."""
    if _START.match(buffer, at):
        return at
    while buffer[at : at + 2] == b"\r\n":
        at += 2
    if _START.match(buffer, at):
        return at
    found = _LATER_START.search(buffer, at)
    if found:
        return found.start()
    if buffer.find(b"\n", at) < 0 and len(buffer) - at <= _HEAD_TAIL_BYTES:
        return at
    line = buffer.rfind(b"\n") + 1
    return line if len(buffer) - line <= _HEAD_TAIL_BYTES else len(buffer)


def message_size(buffer: bytes, at: int) -> int:
    """Bytes of the message that begins at `at`, or 0 where its header has not ended yet. A message without a usable
    Content-Length ends where the next start line stands behind its header, else with its header."""
    end = buffer.find(b"\r\n\r\n", at)
    if end < 0:
        return 0
    found = _LENGTH.search(buffer, at, end + 2)
    return end + 4 - at + (int(found[1]) if found else 0)
