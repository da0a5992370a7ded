"""What one direction of a TCP connection carries, told by its first bytes: SIP, SIP in WebSocket (RFC 7118), or neither.

Laws
- Ports tell nothing. A stream is SIP's where a start line stands within PROBE_BYTES (or, where it was joined in its midst,
  within the longest message), WebSocket's where it begins with an upgrade to it or with a frame that holds SIP; else it is
  another's, and read no more. Keep-alives tell neither.
- A stream that begins as another protocol's does is not searched for SIP, which HEP, logs and web pages may quote.
- `other` names the counter that tells of a stream that is none of ours; nothing is kept of it.
"""

from msgspec import Struct

from collectors.net.websocket import HEAD_END, WebSocket, first_payload
from collectors.sip.framing import Framer
from collectors.sip.packets import looks_like_sip

PROBE_BYTES = 8_192
"""How far the first start line of a stream, or the end of its HTTP head, is looked for."""

HEP = b"HEP3"
QUOTES_SIP = (HEP, b"HTTP/", b"SSH-", b"<")
"""How streams begin that carry SIP only as what they talk about: HEP, pages, XML and syslog."""

_HTTP = (b"GET ", b"HTTP/1.1 101")
_TLS_RECORDS = frozenset((20, 21, 22, 23))
_TLS_MAJOR = 3
_MESSAGE_FRAMES = (b"\x81", b"\x82")
"""A whole text or binary message in one WebSocket frame."""
_FRAME_HEAD_MAX_BYTES = 14
_KEEPALIVE = b"\r\n"
"""RFC 5626 section 3.5.1."""


class SipStream(Struct, array_like=True):
    """`transport`: `tcp` or `ws` once it is told. `from_start`: the stream's beginning was captured."""

    limit: int
    from_start: bool = False
    transport: str = ""
    other: str = ""
    framer: Framer | None = None
    websocket: WebSocket | None = None
    head: bytes = b""
    """What came while its first bytes do not tell yet."""
    seen_bytes: int = 0

    @property
    def broken(self) -> int:
        return (self.framer.broken if self.framer else 0) + (self.websocket.broken if self.websocket else 0)

    @property
    def held_bytes(self) -> int:
        framed = len(self.framer.rest) if self.framer else 0
        return len(self.head) + framed + (self.websocket.held_bytes if self.websocket else 0)

    def feed(self, data: bytes) -> list[bytes]:
        if self.framer is None and self.websocket is None and not self.other:
            data = self._begin(data)
        if self.websocket is not None:
            return self._unframed(self.websocket.feed(data))
        if self.framer is None:
            return []
        messages = self.framer.feed(data)
        if not self.transport:
            self._probe(len(data.strip(_KEEPALIVE)), messages)
        return messages

    def gap(self) -> None:
        self.head = b""
        if self.websocket is not None:
            self.websocket.gap()
        if self.framer is not None:
            self.framer.gap()

    def _begin(self, data: bytes) -> bytes:
        """Choose a reader by the first bytes; all that it is to read."""
        data, self.head = self.head + data, b""
        begin = data.lstrip(_KEEPALIVE)
        if not begin:
            return b""
        if (begin.startswith(_HTTP) and HEAD_END not in begin) or _tells_nothing_yet(begin):
            self.head = data
            if len(data) > PROBE_BYTES:
                self._leave()
        elif begin.startswith(_HTTP) and is_upgrade(begin):
            self.websocket = WebSocket(self.limit, in_head=True)
        elif begin.startswith((HEP, *_HTTP)) or (self.from_start and begin.startswith(QUOTES_SIP)):
            self._leave()
        elif begin[0] in _TLS_RECORDS and begin[1:2] == bytes((_TLS_MAJOR,)):
            self._leave("tls_streams")
        elif looks_like_sip(first_payload(data)):
            self.websocket = WebSocket(self.limit)
        else:
            self.framer = Framer(self.limit, lost=not self.from_start)
        return data

    def _leave(self, counter: str = "tcp_other_streams") -> None:
        self.other, self.head = counter, b""
        self.framer = self.websocket = None

    def _unframed(self, messages: list[bytes]) -> list[bytes]:
        messages = [message for message in messages if message.strip(b"\r\n\0")]
        if messages and not self.transport:
            if not looks_like_sip(messages[0]):
                self._leave()
                return []
            self.transport = "ws"
        return messages

    def _probe(self, more_bytes: int, messages: list[bytes]) -> None:
        self.seen_bytes += more_bytes
        if messages:
            self.transport = "tcp"
            return
        within = PROBE_BYTES if self.from_start else self.limit
        if self.framer and self.seen_bytes > within and not looks_like_sip(self.framer.rest):
            self._leave()


def _tells_nothing_yet(begin: bytes) -> bool:
    """Whether more bytes are needed to tell WebSocket and other protocols from SIP."""
    if begin.startswith(_MESSAGE_FRAMES):
        payload = first_payload(begin)
        return len(begin) < _FRAME_HEAD_MAX_BYTES or (payload.isascii() and b"\n" not in payload.lstrip(b"\r\n"))
    return any(known.startswith(begin) and known != begin for known in (*QUOTES_SIP, *_HTTP))


def is_upgrade(head: bytes) -> bool:
    """Whether an HTTP head asks for WebSocket, or grants it, and leaves room for SIP (RFC 7118 section 4)."""
    fields: dict[bytes, bytes] = {}
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        fields[name.strip()] = value.strip()
    told = fields.get(b"sec-websocket-protocol", b"sip")
    return b"websocket" in fields.get(b"upgrade", b"") and b"sip" in [name.strip() for name in told.split(b",")]
