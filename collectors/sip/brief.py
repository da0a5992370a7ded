"""The short way to read a message: what it is, its Call-ID and its CSeq, by searching the bytes.

Laws
- For every message, `brief` gives either what `parse` gives, or None: then `parse` must be asked.
- It allocates nothing but its result. Most messages (100, 180, ACK, retransmissions) need no more than this.
"""

from collectors.sip.address import usual
from collectors.sip.names import METHODS

Brief = tuple[bytes, int, bytes, bytes]
"""method (empty for a response), status (0 for a request), Call-ID, CSeq in its plain spelling."""

_STATUS = {b"%d" % status: status for status in range(100, 700)}
_BLANK = b" \t"
_SPACE, _ZERO = b" 0"


def brief(data: bytes) -> Brief | None:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    if data.startswith(b"SIP/2.0 "):
        method, status = b"", _STATUS.get(data[8:11], 0)
        if not status or (data[11] != 0x20 and data[11:13] != b"\r\n"):
            return None
    else:
        method, status = data[: data.find(b" ")], 0
        line = data.find(b"\r\n")
        if method not in METHODS or not data.endswith(b" SIP/2.0", 0, line) or data.count(b" ", 0, line) != 2:
            return None
    at = data.find(b"\r\nCall-ID:", 0, end) + 10
    stop = data.find(b"\r\n", at)
    call_id = data[at + 1 : stop]
    if at < 10 or data[at] != _SPACE or not call_id or b" " in call_id or b"\t" in call_id or data[stop + 2] in _BLANK:
        return None
    at = data.find(b"\r\nCSeq:", 0, end) + 7
    stop = data.find(b"\r\n", at)
    cseq = data[at + 1 : stop]
    if at < 7 or data[at] != _SPACE or data[stop + 2] in _BLANK or (cseq not in _usual_cseqs and not _is_usual(cseq)):
        return None
    return method, status, call_id, cseq


_USUAL_MAX = 8_192
_usual_cseqs: set[bytes] = set()


def _is_usual(cseq: bytes) -> bool:
    """A number without leading zeros, a blank, a known method."""
    number, _, name = cseq.partition(b" ")
    if name not in METHODS or not number.isdigit() or len(number) > 9 or (number[0] == _ZERO and len(number) > 1):
        return False
    if len(_usual_cseqs) < _USUAL_MAX:
        _usual_cseqs.add(cseq)
    return True


def to_tag(data: bytes) -> bytes | None:
    """The tag of To where it stands in the usual way, empty where it has none; None where the full way must tell."""
    value = to_value(data)
    found = usual(value) if value is not None else None
    return None if found is None else found[2] or b""


def to_value(data: bytes) -> bytes | None:
    """The value of To; None where the full way must tell."""
    end = data.find(b"\r\n\r\n")
    at = data.find(b"\r\nTo:", 0, end)
    stop = data.find(b"\r\n", at + 5)
    if at < 0 or end < 0 or data[stop + 2] in _BLANK:
        return None
    return data[at + 5 : stop].strip(_BLANK)
