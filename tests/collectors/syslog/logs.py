"""One call of an adapter, and how devices of several makes log it. `DEVICE` is the device, `PBX` the far end."""

from tests.collectors.hep.calls import PBX, message
from tests.collectors.hep.calls import PHONE as DEVICE

UP, DOWN = True, False
"""Sent by the device, and received by it."""

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 16000 RTP/AVP 0\r\n"


def with_body(head: bytes, body: bytes = SDP) -> bytes:
    told = b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head.replace(b"Content-Length: 0\r\n\r\n", told) + body


CALL = [
    (UP, with_body(message(f"INVITE sip:202@{PBX} SIP/2.0", 1, "1 INVITE", False))),
    (DOWN, message("SIP/2.0 180 Ringing", 1, "1 INVITE")),
    (DOWN, with_body(message("SIP/2.0 200 OK", 1, "1 INVITE"))),
    (UP, message(f"ACK sip:202@{PBX} SIP/2.0", 1, "1 ACK")),
    (UP, message(f"BYE sip:202@{PBX} SIP/2.0", 1, "2 BYE")),
    (DOWN, message("SIP/2.0 200 OK", 1, "2 BYE")),
]


class Audiocodes:
    """Texts are numbered; the line before a message stands at the end of a text of other lines, the message in the next."""

    def __init__(self) -> None:
        self.number = 100

    def __call__(self, sent: bool, text: bytes) -> list[bytes]:
        way = b"Outgoing SIP Message to" if sent else b"Incoming SIP Message from"
        back = b"from" if sent else b"to"
        marker = b"---- %b 192.0.2.1:5060 %b SIPInterface #0 (Lan) UDP TO(#3) ----" % (way, back)
        lines = b" (N  41) AcSIPCall(#9): Handling a request\r\n(N  42) " + marker
        spaced = text.replace(b"\r\n", b" \n")
        half = len(spaced) // 2
        return [
            self.text(lines + b" \n"),
            self.text(spaced[:half]),
            self.text(spaced[half:]),
            self.text(b" (N  43) done"),
        ]

    def text(self, content: bytes) -> bytes:
        self.number += 1
        return b"<133>[S=%d] [SID=c0ffee:24:17] %b [Time:17-12@12:56:34.417]" % (self.number, content)


def grandstream(sent: bool, text: bytes) -> list[bytes]:
    """A message is cut anywhere; nothing says who sent it. Other texts stand between messages."""
    head = b"<15> HT801 [c0:74:ad:00:00:01] [1.0.49.2] GS_ATA: USER.DEBUG  "
    pieces = [text[at : at + 300] for at in range(0, len(text), 300)]
    return [head + b"1696364494.645840 SigCtrl::perform on acct 0", *(head + piece for piece in pieces)]


def pjsip(sent: bool, text: bytes) -> list[bytes]:
    """Each line is a text of its own."""
    way = b"TX 900 bytes Request msg (tdta0x1) to" if sent else b"RX 900 bytes Response msg (rdata0x1) from"
    lines = [
        b"pjsip: 09:41:49.069   pjsua_core.c  ...%b UDP 192.0.2.1:5060:" % way,
        *text.split(b"\r\n"),
        b"--end msg--",
    ]
    return [b"<30>Dec  3 09:41:49 phoneapp[1033]: " + line for line in lines]


def rtx(sent: bool, text: bytes) -> list[bytes]:
    way = b"Sent to" if sent else b"Received from"
    head = b"<133>1 2019-11-08T09:03:30Z 192.0.2.9 00087b000001 Sky 00000 03920 "
    line = head + b"-[SIP message %b udp:192.0.2.1:5060 at 08/11/2019 09:03:30  (%d bytes)"
    return [line % (way, len(text)) + b"\n\n" + text]


def asterisk(sent: bool, text: bytes) -> list[bytes]:
    """By way of rsyslog, which writes control characters as their octal codes."""
    way = b"Transmitting SIP request (%d bytes) to" if sent else b"Received SIP response (%d bytes) from"
    whole = b"<--- " + way % len(text) + b" UDP:192.0.2.1:5060 --->\n" + text
    return [b"<142>Nov 21 12:00:00 pbx asterisk: " + whole.replace(b"\r", b"#015").replace(b"\n", b"#012")]


MAKES = {"audiocodes": Audiocodes, "grandstream": lambda: grandstream, "pjsip": lambda: pjsip, "rtx": lambda: rtx}
MAKES["asterisk"] = lambda: asterisk
__all__ = ["CALL", "DEVICE", "MAKES", "PBX", "Audiocodes", "with_body"]
