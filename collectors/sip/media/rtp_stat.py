"""What a phone says in the BYE, or its answer, of the media it had: the headers X-RTP-Stat and P-RTP-Stat. Pure.

Laws
- `reports` never raises; a field that is not there or cannot be read is None.
- Values that hold two figures have the received stream first, the sent one second.

Form: AVM's "X-RTP-Stat" (xrtpv32), which baresip and others send too: `NAME=value` with semicolons between. PS, OS, PR, OR:
packets and octets sent and received; ER: packets expected; PL: lost; JI: jitter in ms; DL: round trip in ms, mean first; IP:
this end and the far one.
"""

from collections.abc import Sequence

from collectors.sip.media.endpoint import endpoint
from collectors.sip.media.report import Report

HEADERS = (b"x-rtp-stat", b"p-rtp-stat")
"""Names of the headers, in lower case."""

FIELDS_MAX = 64

Fields = dict[str, Sequence[str]]


def reports(value: bytes, at_us: int, call_id: bytes = b"", ends: tuple[str, str] = ("", "")) -> list[Report]:
    """One header's value: the stream that its sender received, and the one that it sent. `ends`: this end of the media and the
    far one, where the value does not say."""
    fields = _fields(value)
    local, remote = _address(fields, 0) or ends[0], _address(fields, 1) or ends[1]
    lost, received = _number(fields, "PL", 0), _number(fields, "PR", 0)
    expected = _number(fields, "ER", 0)
    if expected is None and received is not None and lost is not None:
        expected = received + lost
    heard = Report(
        at_us=at_us,
        told_by="vq",
        src=remote,
        dst=local,
        call_id=call_id,
        packets=_whole(expected),
        octets=_whole(_number(fields, "OR", 0)) if lost == 0 else None,
        lost=_whole(lost),
        jitter_us=_micro(_number(fields, "JI", 0)),
        round_trip_us=_micro(_number(fields, "DL", 0)) or None,
    )
    said = Report(
        at_us=at_us,
        told_by="vq",
        src=local,
        dst=remote,
        call_id=call_id,
        packets=_whole(_number(fields, "PS", 0)),
        octets=_whole(_number(fields, "OS", 0)),
        lost=_whole(_number(fields, "PL", 1)),
        jitter_us=_micro(_number(fields, "JI", 1)),
    )
    return [one for one, at in ((heard, "PR"), (said, "PS")) if at in fields]


def _fields(value: bytes) -> Fields:
    pairs = (part.partition("=") for part in value.decode("ascii", "replace").split(";", FIELDS_MAX)[:FIELDS_MAX])
    return {name.strip().upper(): text.strip().split(",") for name, equals, text in pairs if equals}


def _number(fields: Fields, name: str, place: int) -> float | None:
    try:
        value = float(fields[name][place])
    except (KeyError, IndexError, ValueError):
        return None
    return value if 0 <= value < 2**63 else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _micro(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * 1000)


def _address(fields: Fields, place: int) -> str:
    """IP has this end first, the far one second."""
    texts = fields.get("IP", ())
    host, _, port = texts[place].rpartition(":") if place < len(texts) else ("", "", "0")
    return endpoint(host, port)
