"""What capture service and agent say to each other over their Unix socket. Pure.

A message is a head (octets of its body, its kind, a number) and the body. Both ends are on one machine and of one release, so
numbers are in this machine's byte order.

| kind | from | number | body |
|---|---|---|---|
| HELLO | service | that of the next frame | `Hello` |
| BLOCK | service | that of its first frame | a block of the kernel's ring, as it was (blocks.py) |
| STATE | service | | `State`; once a second |
| START | agent | that of the frame it wants first | the session that this number is of |
| RELEASE | agent | all frames before it are durable | |

Laws
- Frames are numbered from 0 within a session, which is one run of the service: a gap in the numbers is a loss.
- What does not keep to this raises WireError; nothing else is raised.
"""

from collections.abc import Iterator
from struct import Struct as Layout
from typing import TypeVar

import msgspec
from msgspec import Struct

VERSION = 1
HELLO, BLOCK, STATE, START, RELEASE = range(1, 6)
KINDS = frozenset((HELLO, BLOCK, STATE, START, RELEASE))

HEAD = Layout("=IIQ")

BODY_MAX_BYTES = 4 * 1024 * 1024
"""A block of the ring has one mebibyte; all else is small."""


class WireError(Exception):
    """The other end does not speak this protocol."""


class Hello(Struct, frozen=True, array_like=True):
    """`session` names this run of the service, `started_us` its start; `first` is the oldest frame that it still has.
    `trouble` is the code of what keeps it from capturing (trouble.py), empty where nothing does."""

    version: int
    session: bytes
    started_us: int
    first: int
    trouble: str = ""
    text: str = ""


class State(Struct, frozen=True, array_like=True):
    """`now_us` by the service's clock; totals since the service's start."""

    now_us: int
    counters: dict[str, int]
    trouble: str = ""
    text: str = ""


Body = TypeVar("Body", Hello, State)
pack = msgspec.msgpack.Encoder().encode


def unpack(kind: type[Body], body: bytes) -> Body:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise WireError(f"no {kind.__name__} of this version: {error}") from error


def message(kind: int, number: int = 0, body: bytes = b"") -> bytes:
    return HEAD.pack(len(body), kind, number) + body


class Messages:
    """Cuts a stream into its messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Kind, number and body of each message that is whole now."""
        rest = self._rest
        rest += data
        at = 0
        try:
            while len(rest) - at >= HEAD.size:
                size, kind, number = HEAD.unpack_from(rest, at)
                if kind not in KINDS or size > BODY_MAX_BYTES:
                    raise WireError(f"no message of this protocol: kind {kind}, {size} octets")
                end = at + HEAD.size + size
                if end > len(rest):
                    break
                yield kind, number, bytes(memoryview(rest)[at + HEAD.size : end])
                at = end
        finally:
            del rest[:at]
