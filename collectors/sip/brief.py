"""The short way to read a message: what it is, its Call-ID and its CSeq, by searching the bytes.

Laws
- For every message, `brief` gives either what `parse` gives, or None: then `parse` must be asked.
- It keeps nothing but its result. Most messages (100, 180, ACK, retransmissions) need no more than this.
"""

from collectors.sip.address import WORD_MAX_BYTES, usual
from collectors.sip.names import METHODS

Brief = tuple[bytes, int, bytes, bytes]
"""method (empty for a response), status (0 for a request), Call-ID, CSeq in its plain spelling."""

_STATUS = {b"%d" % status: status for status in range(100, 700)}
_BLANK = b" \t"
_SPACE, _TAB, _RETURN, _ZERO = b" \t\r0"


def brief(data: bytes) -> Brief | None:
    # Nearly everybody writes CSeq next to Call-ID. `partition` gives in one call what `find` and slices give in three; `in` is
    # for single octets here, since for several CPython first fails to take them for a number.
    head, ended, _ = data.partition(b"\r\n\r\n")
    before, _, rest = head.partition(b"\r\nCall-ID:")
    call_id, _, rest = rest.partition(b"\r\nCSeq:")
    cseq, _, rest = rest.partition(b"\r\n")
    if not ended or not rest or _RETURN in call_id or before.find(b"\r\nCSeq:") >= 0:
        return _in_any_order(data)
    line, _, _ = before.partition(b"\r\n")
    start = _starts.get(line) or _start(line)
    if start is None or data[len(line) + 2] in _BLANK:
        return None
    if call_id[:1] != b" " or cseq[:1] != b" " or rest[0] in _BLANK:
        return None
    call_id, cseq = call_id[1:], cseq[1:]
    if (
        not 0 < len(call_id) <= WORD_MAX_BYTES
        or _SPACE in call_id
        or _TAB in call_id
        or (cseq not in _usual_cseqs and not _is_usual(cseq))
    ):
        return None
    method, status = start
    return method, status, call_id, cseq


_STARTS_MAX, _START_MAX_BYTES = 2_048, 256
"""Start lines remembered: the status lines in use are a few dozen, and a phone's Contact stands in many a request line."""
_starts: dict[bytes, tuple[bytes, int]] = {}


def _start(line: bytes) -> tuple[bytes, int] | None:
    """Method and status that a start line in its plain form tells."""
    if line[:8] == b"SIP/2.0 ":
        found = b"", _STATUS.get(line[8:11], 0)
        if not found[1] or line[11:12] not in (b"", b" "):
            return None
    else:
        found = line[: line.find(b" ")], 0
        if (
            found[0] not in METHODS
            or line[-8:] != b" SIP/2.0"
            or b" ".join(line.split()) != line
            or line.count(b" ") != 2
        ):
            return None
    if len(_starts) >= _STARTS_MAX:
        _starts.clear()
    if len(line) <= _START_MAX_BYTES:
        _starts[line] = found
    return found


def _in_any_order(data: bytes) -> Brief | None:
    end = data.find(b"\r\n\r\n")
    line = data.find(b"\r\n")
    start = _start(data[:line])
    if end < 0 or start is None or data[line + 2] in _BLANK:
        return None
    at = data.find(b"\r\nCall-ID:", 0, end) + 10
    stop = data.find(b"\r\n", at)
    call_id = data[at + 1 : stop]
    if at < 10 or data[at] != _SPACE or _SPACE in call_id or _TAB in call_id or data[stop + 2] in _BLANK:
        return None
    if not 0 < len(call_id) <= WORD_MAX_BYTES:
        return None
    at = data.find(b"\r\nCSeq:", 0, end) + 7
    stop = data.find(b"\r\n", at)
    cseq = data[at + 1 : stop]
    if at < 7 or data[at] != _SPACE or data[stop + 2] in _BLANK or (cseq not in _usual_cseqs and not _is_usual(cseq)):
        return None
    return *start, call_id, cseq


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
    """The tag of To in a message that `brief` could read, where it stands in the usual way, empty where it has none; None
    where the full way must tell."""
    value = to_value(data)
    found = usual(value) if value is not None else None
    return None if found is None else found[2] or b""


def to_value(data: bytes) -> bytes | None:
    """The value of To in a message that `brief` could read; None where the full way must tell."""
    before, _, rest = data.partition(b"\r\nTo:")
    value, _, rest = rest.partition(b"\r\n")
    if not rest or rest[0] in _BLANK or before[-2:] == b"\r\n" or before.find(b"\r\n\r\n") >= 0:
        return None  # folded, or not in the header
    return value.strip(_BLANK)
