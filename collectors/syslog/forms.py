"""How devices write SIP messages into their log: one row a form. Pure data; each row names the sample that it rests on.

Laws
- A form is told by the line before the message. `sent` and `received` find it, and give the far end.
- Every repetition in a pattern is bounded, so that no text takes longer than its length.
- Where a form has no such line (`BARE`), a text that begins with a SIP start line is a message, and who sent it is told by its
  topmost Via.
"""

import re
from re import Pattern

from msgspec import Struct

_PEER = rb"(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9]+(?:\.[0-9]+){3}|[0-9A-Fa-f:]+):(?P<port>[0-9]{1,5})"

_INTERFACE = rb" (?:to|from) SIPInterface #\S{1,16} \([^)\n]{0,64}\) (?P<transport>\w{2,4}) [^\n]{0,80}?---- ?\r?\n?"


class Form(Struct, frozen=True):
    """`noise`: what the device puts before each text; `tail`: and behind. `other`: a text that is no part of a message, though
    one is unfinished. `ends`: what ends a message, where there is such a thing. `joint`: what stood between two texts of one
    message. `number`: the device's own count of texts, by which a lost one shows."""

    name: str
    sent: Pattern[bytes] | None = None
    received: Pattern[bytes] | None = None
    noise: Pattern[bytes] | None = None
    tail: Pattern[bytes] | None = None
    other: Pattern[bytes] | None = None
    ends: Pattern[bytes] | None = None
    joint: bytes = b""
    number: Pattern[bytes] | None = None


AUDIOCODES = Form(
    # sipcapture/paStash issues 75, 76, 238: Mediant 7.20A and 7.40A; MediaPack shares its syslog
    name="audiocodes",
    sent=re.compile(rb"---- Outgoing SIP Message to " + _PEER + _INTERFACE),
    received=re.compile(rb"---- Incoming SIP Message from " + _PEER + _INTERFACE),
    noise=re.compile(rb"\s*(?:\[S=[0-9]+\] ?)(?:\[[SB]ID=[^\]\n]{0,64}\] ?)*"),
    tail=re.compile(rb" ?\[Time:[^\]\n]{0,40}\]\s*\Z"),
    other=re.compile(rb"\s*\(N {1,8}[0-9]{1,12}\)"),
    ends=re.compile(rb"\r?\n[ \t]{0,120}\(N {1,8}[0-9]{1,12}\)"),
    number=re.compile(rb"\[S=([0-9]{1,18})\]"),
)

PJSIP = Form(
    # pjsua_core.c's log; drgyl/sip traceB199.sh: Avaya and Konftel phones, a text for each line
    name="pjsip",
    sent=re.compile(rb"\.TX [0-9]{1,6} bytes [^\n]{0,160}? to (?P<transport>\w+) " + _PEER + rb":\s*"),
    received=re.compile(rb"\.RX [0-9]{1,6} bytes [^\n]{0,160}? from (?P<transport>\w+) " + _PEER + rb":\s*"),
    ends=re.compile(rb"--end msg--"),
    other=re.compile(rb"pjsip: "),
    joint=b"\r\n",
)

RTX = Form(
    # drgyl/sip traceB169.sh: DECT base stations of RTX (Avaya, Spectralink, Snom M)
    name="rtx_dect",
    sent=re.compile(
        rb"-?\[?SIP message Sent to (?P<transport>\w+):" + _PEER + rb" at [^\n(]{0,40}\([0-9]{1,6} bytes\)\s*"
    ),
    received=re.compile(
        rb"-?\[?SIP message Received from (?P<transport>\w+):" + _PEER + rb" at [^\n(]{0,40}\([0-9]{1,6} bytes\)\s*"
    ),
)

ASTERISK = Form(
    # res_pjsip_logger.c, where logger.conf sends verbose messages to syslog
    name="asterisk",
    sent=re.compile(rb"<--- Transmitting SIP \w+ \([0-9]{1,6} bytes\) to (?P<transport>\w+):" + _PEER + rb" --->\s*"),
    received=re.compile(rb"<--- Received SIP \w+ \([0-9]{1,6} bytes\) from (?P<transport>\w+):" + _PEER + rb" --->\s*"),
    joint=b"\r\n",
)

BARE = Form(
    # tcz/rotary-gpt issue 2: Grandstream HT8xx; a message is cut anywhere into texts, which follow each other without a gap
    name="bare",
    noise=re.compile(rb"\s?[\w-]{2,20} \[[0-9A-Fa-f:]{17}\] \[[0-9.]+\] GS_\w+: \w+\.\w+ {1,2}"),
    other=re.compile(rb"[0-9]{10}\.[0-9]{6} "),
)

MARKED = (AUDIOCODES, PJSIP, RTX, ASTERISK)
FORMS = {form.name: form for form in (*MARKED, BARE)}
