"""WebSocket messages (RFC 6455) out of one direction of a connection.

Laws
- `feed` gives whole text and binary messages in order, unmasked, put together from their frames; control frames between
  them are stepped over. It never raises.
- A direction may begin with its HTTP head or, joined in its midst, with a frame. After bytes that were never captured the next
  run of bytes that begins like a frame goes on.
- What is kept is less than `limit` bytes; a message beyond it is given up, counted in `broken`.
- Compressed messages (RFC 7692) are not read and count as broken: no SIP server is known to negotiate that.
"""

from msgspec import Struct

HEAD_END = b"\r\n\r\n"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
OPCODES = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_FIN, _RESERVED, _COMPRESSED, _MASKED = 0x80, 0x30, 0x40, 0x80


class Frame(Struct, frozen=True):
    """A frame's head. `size` is that of the head, `length` that of the payload; `mask` is empty where there is none."""

    fin: bool
    compressed: bool
    opcode: int
    mask: bytes
    size: int
    length: int


def frame_head(data: bytes, at: int = 0) -> Frame | None:
    """The head of the frame that begins at `at`; None where it is not whole. Raises ValueError where none begins there."""
    if len(data) - at < 2:
        return None
    first, second = data[at], data[at + 1]
    opcode, length, size = first & 15, second & 0x7F, 2
    if first & _RESERVED or opcode not in OPCODES or (opcode >= CLOSE and (length > 125 or not first & _FIN)):
        raise ValueError("no WebSocket frame begins here")
    if length > 125:
        size = 4 if length == 126 else 10
        if len(data) - at < size:
            return None
        length = int.from_bytes(data[at + 2 : at + size], "big")
    mask = b""
    if second & _MASKED:
        mask = data[at + size : at + size + 4]
        size += 4
        if len(mask) < 4:
            return None
    return Frame(bool(first & _FIN), bool(first & _COMPRESSED), opcode, mask, size, length)


def unmask(data: bytes, mask: bytes) -> bytes:
    if not mask:
        return data
    key = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(len(data), "big")


def first_payload(data: bytes) -> bytes:
    """What is there of the payload of the text or binary frame that `data` begins with; empty where it begins with none."""
    try:
        head = frame_head(data)
    except ValueError:
        return b""
    if head is None or head.opcode not in (TEXT, BINARY) or head.compressed:
        return b""
    return unmask(data[head.size : head.size + head.length], head.mask)


class WebSocket(Struct, array_like=True):
    limit: int
    in_head: bool = False
    """The HTTP head is not over yet."""
    lost: bool = False
    """Bytes are missing: the next run of bytes goes on if it begins with a frame."""
    rest: bytes = b""
    parts: list[bytes] = []
    """The frames of an unfinished message."""
    parts_bytes: int = 0
    begun: bool = False
    """A message has begun, and its beginning was captured."""
    broken: int = 0

    @property
    def held_bytes(self) -> int:
        return len(self.rest) + self.parts_bytes

    def feed(self, data: bytes) -> list[bytes]:
        data = self.rest + data if self.rest else data
        self.rest = b""
        if self.in_head:
            end = data.find(HEAD_END)
            if end < 0:
                self.rest = data[-self.limit :]
                return []
            self.in_head = False
            data = data[end + len(HEAD_END) :]
        return self._frames(data)

    def _frames(self, data: bytes) -> list[bytes]:
        messages: list[bytes] = []
        at = 0
        try:
            while (head := frame_head(data, at)) is not None:
                if head.length + self.parts_bytes > self.limit:
                    raise ValueError("a message beyond the limit")
                end = at + head.size + head.length
                self.lost = False
                if end > len(data):
                    break
                messages += self._frame(head, data[at + head.size : end])
                at = end
        except ValueError:
            if not self.lost:
                self.gap()
            return messages
        self.rest = data[at:]
        return messages

    def _frame(self, head: Frame, payload: bytes) -> list[bytes]:
        if head.opcode >= CLOSE:
            return []
        if head.opcode != CONTINUATION:
            self._give_up()
            self.begun = not head.compressed
            self.broken += head.compressed
        if not self.begun:
            return []
        self.parts.append(unmask(payload, head.mask))
        self.parts_bytes += len(payload)
        if not head.fin:
            return []
        message = b"".join(self.parts)
        self.parts, self.parts_bytes, self.begun = [], 0, False
        return [message]

    def _give_up(self) -> None:
        self.broken += self.begun
        self.parts, self.parts_bytes, self.begun = [], 0, False

    def gap(self) -> None:
        """Bytes are missing here: what was begun cannot be finished."""
        self.broken += bool(self.rest) and not self.begun
        self._give_up()
        self.rest, self.lost = b"", True
