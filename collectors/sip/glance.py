"""A few headers out of a message that `brief` could read, by searching it: for the answers that come by the thousand.

Laws
- What a `Glance` tells is what `parse` tells of the same bytes; where it cannot know that, it raises `Unusual`, and the full
  way must be asked. A property test holds the two to each other.
"""

from msgspec import Struct

from collectors.sip.names import COMPACT, NAMES

_LETTERS = {name: letter for letter, name in COMPACT.items()}
_AFTER_LETTER = (b":", b" ", b"\t")


def _lines(name: bytes) -> tuple[bytes, bytes]:
    """How a line with this header begins in lower case, and how with its compact form."""
    letter = _LETTERS.get(name.lower())
    return b"\r\n" + name.lower(), b"\r\n" + letter if letter else b""


_LINES = {name: _lines(name) for name in NAMES if name not in (b"Call-ID", b"CSeq", b"From", b"To")}
_BLANK = b" \t"
_COLON = 0x3A


class Unusual(Exception):
    """Something stands there in a way that only the full parser reads for sure."""


class Glance(Struct):
    data: bytes
    low: bytes
    """The header in lower case, up to the end of its last line."""
    rest: bytes
    """What follows the header."""

    def get(self, name: bytes) -> bytes:
        """The value of a header that stands there once, or nothing. Raises Unusual."""
        line, compact = _LINES[name]
        low = self.low
        at = low.find(line)
        if at < 0:
            at = low.find(compact) if compact else -1
            while at >= 0:
                if low[at + 3 : at + 4] in _AFTER_LETTER:
                    raise Unusual
                at = low.find(compact, at + 3)
            return b""
        at += len(line)
        data = self.data
        stop = data.find(b"\r\n", at)
        if data[at] != _COLON or data[stop + 2] in _BLANK or low.find(line, at) >= 0:
            raise Unusual
        return data[at + 1 : stop].strip(_BLANK)

    def body(self) -> bytes:
        """What follows the header, as long as Content-Length says. Raises Unusual."""
        length = self.get(b"Content-Length")
        if not length.isdigit() or len(length) > 8 or int(length) > len(self.rest):
            raise Unusual
        return self.rest[: int(length)]


def glance(data: bytes) -> Glance:
    head, _, rest = data.partition(b"\r\n\r\n")
    return Glance(data, head.lower(), rest)
