"""SIP messages put together from the texts that one device logs. Pure.

Laws
- A message is handed on only where it is whole: all headers that RFC 3261 section 8.1.1 asks for, and exactly the body that
  Content-Length tells. One that is not is a fault with its reason, never a shorter message.
- Line ends are those of SIP again, whatever the log made of them.
- What is kept of a device is one unfinished message of MESSAGE_MAX_BYTES at most, for UNFINISHED_MAX_US.
"""

import re

from msgspec import Struct

from collectors.sip.packets import looks_like_sip
from collectors.syslog.envelope import MESSAGE_MAX_BYTES
from collectors.syslog.forms import AUDIOCODES, BARE, FORMS, MARKED, Form

UNFINISHED_MAX_US = 5_000_000
"""The texts of one message follow each other within milliseconds."""

TEXTS_MAX = 512
"""Of one message: lines of the longest SIP met have some 100; each text is a look at the whole so far."""

UNKNOWN_PEER = "0.0.0.0:0"
"""The far end where a form does not tell it: one name, so that what goes there and comes from there meets."""

_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,6})[ \t]*(?=\r\n)", re.IGNORECASE)
_NEEDED = tuple(
    re.compile(rb"\r\n(?:" + names + rb")[ \t]*:", re.IGNORECASE)
    for names in (rb"via|v", rb"from|f", rb"to|t", rb"call-id|i", rb"cseq")
)
_VIA = re.compile(
    rb"\r\n(?:via|v)[ \t]*:[ \t]*SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*(\w+)[ \t]+(\[[^\]]+\]|[^\s;:,]+)", re.IGNORECASE
)


class Whole(Struct, frozen=True):
    """`sent`: by the device. `peer`: `ip:port`."""

    transport: str
    sent: bool
    peer: str
    message: bytes


class Fault(Struct, frozen=True):
    reason: str
    message: str
    excerpt: bytes


Found = Whole | Fault


class Assembly(Struct, array_like=True):
    """One device's unfinished message. `form` is empty where there is none."""

    form: str = ""
    sent: bool = False
    peer: str = ""
    transport: str = ""
    text: bytes = b""
    at_us: int = 0
    number: int = 0
    texts: int = 0

    def feed(self, text: bytes, device: str, at_us: int, follows: bool = False) -> list[Found]:
        """One text of the device with the address `device`; it may hold the end of one message and the beginning of others.
        `follows`: it is a further line of the text before."""
        found: list[Found] = []
        if self.form and at_us - self.at_us > UNFINISHED_MAX_US:
            found += self.flush(device)
        number = _number(text)
        bare, text = _stripped(text)
        at = 0
        for form, begin in _markers(text):
            if begin.start() > at:
                found += self._further(text[at : begin.start()], bare, device, at_us, number, follows)
            found += self.flush(device)
            self._begin(form, begin)
            self.number, self.at_us, at = number, at_us, begin.end()
        if at < len(text) or not at:  # a text of its own that is empty is an empty line
            found += self._further(text[at:], bare, device, at_us, number, follows)
        return found

    def _further(self, text: bytes, bare: bool, device: str, at_us: int, number: int, follows: bool) -> list[Found]:
        """What stands before, between and behind the lines that announce messages. `bare`: the device announces none."""
        found: list[Found] = []
        if bare and self.form in ("", BARE.name) and not follows and looks_like_sip(text):
            found += self.flush(device)
            self._begin(BARE, None)
        elif not self.form:
            return []
        elif (other := FORMS[self.form].other) and other.match(text):
            return self.flush(device)
        elif self.number and number not in (0, self.number, self.number + 1):
            return [self._fault("syslog_gap", "the device's own count says that a text between two is missing")]
        self.number, self.at_us, self.texts = number or self.number, at_us, self.texts + 1
        joint = b"\n" if follows else FORMS[self.form].joint
        ends = FORMS[self.form].ends
        over = ends.search(text) if ends else None
        self.text += (joint if self.text else b"") + (text[: over.start()] if over else text)
        if len(self.text) > MESSAGE_MAX_BYTES or self.texts > TEXTS_MAX:
            limit = f"{MESSAGE_MAX_BYTES} octets, or {TEXTS_MAX} texts"
            found.append(self._fault("syslog_too_long", f"a message is longer than {limit}"))
        elif over:
            found += self.flush(device)
        elif whole := self._whole(device, ended=False):
            found.append(whole)
            self._clear()
        return found

    def flush(self, device: str) -> list[Found]:
        """Nothing more belongs to this message."""
        if not self.form:
            return []
        whole = self._whole(device, ended=True)
        if whole is None and not self.text.strip():
            self._clear()
            return []
        found = whole or self._fault("syslog_incomplete", "parts of a logged message are missing")
        self._clear()
        return [found]

    def _begin(self, form: Form, begin: "re.Match[bytes] | None") -> None:
        self._clear()
        self.form = form.name
        if begin is not None:
            self.sent = begin.re is form.sent
            self.peer = f"{begin['host'].decode()}:{int(begin['port'])}"
            self.transport = begin["transport"].decode().lower()

    def _clear(self) -> None:
        self.form, self.sent, self.peer, self.transport = "", False, "", ""
        self.text, self.number, self.texts = b"", 0, 0

    def _fault(self, reason: str, message: str) -> Fault:
        found = Fault(reason, f"{message} ({self.form})", self.text)
        self._clear()
        return found

    def _whole(self, device: str, ended: bool) -> Whole | None:
        message = _restored(self.text, ended)
        if message is None:
            return None
        via = _VIA.search(message)
        if self.peer or via is None:
            return Whole(self.transport or "udp", self.sent, self.peer or UNKNOWN_PEER, message)
        own = via[2].decode("ascii", "replace").strip("[]") == device.strip("[]")
        return Whole(via[1].decode().lower(), own != message.startswith(b"SIP/"), UNKNOWN_PEER, message)


def _number(text: bytes) -> int:
    found = AUDIOCODES.number.search(text) if AUDIOCODES.number else None
    return int(found[1]) if found else 0


def _stripped(text: bytes) -> tuple[bool, bytes]:
    """The text without what the device puts around it, and whether it may be of a device that announces no messages."""
    for form in (AUDIOCODES, BARE):
        if form.noise and (noise := form.noise.match(text)):
            text = text[noise.end() :]
            return form is BARE, form.tail.sub(b"", text) if form.tail else text
    return True, text


def _markers(text: bytes) -> "list[tuple[Form, re.Match[bytes]]]":
    """The lines that announce messages, in their order."""
    found = [
        (form, begin)
        for form in MARKED
        for marker in (form.sent, form.received)
        if marker
        for begin in marker.finditer(text)
    ]
    return sorted(found, key=lambda one: one[1].start())


def _restored(text: bytes, ended: bool) -> bytes | None:
    """The message with its line ends, where it is whole. `ended`: nothing follows, so that a log which leaves the empty line
    out can be told from one that has not come to it."""
    lines = [line.rstrip() for line in text.lstrip().split(b"\n")]
    if not lines[-1]:
        del lines[-1]  # behind the last line's own end, so that no empty line is seen before there is one
    blank = next((at for at, line in enumerate(lines) if not line), None)
    if blank is None and not ended:
        return None
    if blank is None:
        blank = next((at for at, line in enumerate(lines) if line.startswith(b"v=0")), len(lines))
        body_lines = lines[blank:]
    else:
        body_lines = lines[blank + 1 :]
    head = b"\r\n".join(lines[:blank]) + b"\r\n"
    length = _LENGTH.search(head)
    if not looks_like_sip(head) or length is None or not all(name.search(head) for name in _NEEDED):
        return None
    size = int(length[1])
    while body_lines and not body_lines[-1]:
        body_lines.pop()
    body = b"\r\n".join(body_lines) + b"\r\n" if body_lines else b""
    if size in (len(body), len(body) - 2):
        return head + b"\r\n" + body[:size]
    return None
