"""The SIP of one plain call between a phone and its PBX, as HEP datagrams."""

from tests.collectors.hep.packets import sip

PHONE, PBX = "192.0.2.9", "192.0.2.1"
UP = {"src": PHONE, "dst": PBX, "sport": 5060, "dport": 5060}
DOWN = {"src": PBX, "dst": PHONE, "sport": 5060, "dport": 5060}
RING_S = 3.0
TALK_S = 61.5


def message(start: str, number: int, cseq: str, tagged: bool = True) -> bytes:
    branch = cseq.replace(" ", "")
    return (
        f"{start}\r\nVia: SIP/2.0/UDP {PHONE}:5060;branch=z9hG4bK{number}{branch}\r\nMax-Forwards: 70\r\n"
        f"From: <sip:101@{PBX}>;tag=f{number}\r\nTo: <sip:202@{PBX}>{f';tag=t{number}' if tagged else ''}\r\n"
        f"Call-ID: call-{number}@{PHONE}\r\nCSeq: {cseq}\r\nContact: <sip:101@{PHONE}>\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def beginning(number: int, at_s: float, key: bytes | None = None) -> list[bytes]:
    """INVITE to ACK: answered after RING_S."""
    return [
        sip(message(f"INVITE sip:202@{PBX} SIP/2.0", number, "1 INVITE", False), at_s, key, **UP),
        sip(message("SIP/2.0 180 Ringing", number, "1 INVITE"), at_s + 0.1, key, **DOWN),
        sip(message("SIP/2.0 200 OK", number, "1 INVITE"), at_s + RING_S, key, **DOWN),
        sip(message(f"ACK sip:202@{PBX} SIP/2.0", number, "1 ACK"), at_s + RING_S + 0.01, key, **UP),
    ]


def end(number: int, at_s: float, key: bytes | None = None) -> list[bytes]:
    """BYE and its answer, TALK_S after the call that began at `at_s` was answered."""
    over_s = at_s + RING_S + TALK_S
    return [
        sip(message(f"BYE sip:202@{PBX} SIP/2.0", number, "2 BYE"), over_s, key, **UP),
        sip(message("SIP/2.0 200 OK", number, "2 BYE"), over_s + 0.01, key, **DOWN),
    ]


def later(at_s: float, key: bytes | None = None) -> bytes:
    """An OPTIONS long after everything: what has ended by then is settled."""
    text = message(f"OPTIONS sip:{PBX} SIP/2.0", 999_999, "1 OPTIONS", False)
    return sip(text, at_s + 600, key, **UP)
