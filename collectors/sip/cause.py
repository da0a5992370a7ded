"""Why something ended: the Reason header (RFC 3326), and the cause that the telephone network gave in it. Pure."""

from collectors.sip.address import listed, param, text
from collectors.sip.message import Message

REASON_MAX_CHARS = 200
"""A protocol, a cause and a short sentence."""

Q850_MAX = 127
"""ITU-T Q.850 table 1: a cause value has seven bits."""

ELSEWHERE = 26
"""Q.850 "non-selected user clearing": another phone has answered. It says nothing of how the call came out."""


def reason_of(message: Message) -> str:
    """The Reason header, as it stands."""
    return text(message.get(b"Reason"))[:REASON_MAX_CHARS]


def cause_of(message: Message) -> int:
    """The Q.850 cause among the reasons given (RFC 3326 section 2; in answers by RFC 6432); 0 where there is none."""
    for value in listed(message.values(b"Reason")):
        protocol, _, params = value.partition(b";")
        if protocol.strip().upper() == b"Q.850":
            told = param(b";" + params, b"cause") or b""
            if told.isdigit() and len(told) < 4 and int(told) <= Q850_MAX:
                return int(told)
    return 0


def may_tell(data: bytes) -> bool:
    """Whether these octets may have a Reason header at all: for messages that are not read otherwise."""
    return data.find(b"eason") >= 0 or data.find(b"EASON") >= 0
