"""The agent's end of the capture service: frames from its Unix socket.

Laws
- What was lost is counted, never passed over: frames that the service had to drop before we came for them (`frames_lost`, a
  gap in their numbers), and the time that nobody captured because the service was not there (`unheard_ms`).
- The service's own trouble (no such interface, no capability) is raised here under its code.
"""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
from msgspec import Struct

from collectors.contract import SourceError
from collectors.sip.live.blocks import frames
from collectors.sip.live.source import Frame
from collectors.sip.live.trouble import CAUSES, trouble
from collectors.sip.live.wire import (
    BLOCK,
    HELLO,
    RELEASE,
    START,
    STATE,
    VERSION,
    Hello,
    Messages,
    State,
    WireError,
    message,
    unpack,
)

RECEIVE_BYTES = 1 << 20
HELLO_S = 10.0
"""A service that is there answers at once."""


class Position(Struct, frozen=True, array_like=True):
    """`number`: that of the next frame of `session`; `heard_us`: when the service was last heard, by its clock."""

    session: bytes = b""
    number: int = 0
    heard_us: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Position).decode


class CaptureClient:
    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._messages = Messages()
        self._ready: Iterator[tuple[int, int, bytes]] = iter(())
        self._frames: Iterator[Frame] = iter(())
        self._position = Position()
        self._trouble: SourceError | None = None
        self.counters: dict[str, int] = {"kernel_drops": 0, "frames_lost": 0, "capture_restarts": 0, "unheard_ms": 0}

    async def open(self, resume: bytes | None) -> None:
        self._position = _known(resume)
        self._messages, self._ready, self._frames = Messages(), iter(()), iter(())
        self._trouble = None
        self._socket = await _connect(self._path)
        try:
            hello = await asyncio.wait_for(self._hello(), HELLO_S)
        except TimeoutError:
            raise self._gone("it does not answer") from None
        except WireError as error:
            raise self._wrong(str(error)) from error
        if hello.trouble:
            raise self._told(hello.trouble, hello.text)
        self._go_on(hello)
        self._send(START, self._position.number, self._position.session)

    async def _hello(self) -> Hello:
        while True:
            for kind, _, body in self._messages.feed(await self._receive()):
                if kind == HELLO:
                    hello = unpack(Hello, body)
                    if hello.version != VERSION:
                        raise self._wrong(f"it has version {hello.version}, this program version {VERSION}")
                    return hello

    def _go_on(self, hello: Hello) -> None:
        """Where to begin: at the frame that we know to be next; with another run of the service at its very first; and
        where we know nothing at the first that it still has."""
        known = self._position
        if known.session == hello.session:
            return
        if known.session:
            self.counters["capture_restarts"] += 1
            self.counters["unheard_ms"] += max(0, hello.started_us - known.heard_us) // 1000
        self._position = Position(hello.session, 0 if known.session else hello.first, hello.started_us)

    async def take(self, at_most: int, wait_s: float) -> Sequence[Frame]:
        taken: list[Frame] = []
        try:
            self._collect(taken, at_most)
            if not taken:
                self._raise_trouble()
                try:
                    self._ready = self._messages.feed(await asyncio.wait_for(self._receive(), wait_s))
                except TimeoutError:
                    return ()
                self._collect(taken, at_most)
                if not taken:
                    self._raise_trouble()
        except WireError as error:
            self._trouble = self._wrong(str(error))
            if not taken:
                raise self._trouble from error
        return taken

    def _collect(self, taken: list[Frame], at_most: int) -> None:
        """Move frames from what was received to `taken`."""
        while True:
            fresh = list(islice(self._frames, at_most - len(taken)))
            taken += fresh
            self._advance(len(fresh))
            if len(taken) >= at_most:
                return
            following = next(self._ready, None)
            if following is None:
                return
            self._take_in(*following)

    def _take_in(self, kind: int, number: int, body: bytes) -> None:
        if kind == BLOCK:
            ours = self._position.number
            self._frames = islice(frames(body), max(0, ours - number), None)
            if number > ours:
                self.counters["frames_lost"] += number - ours
                self._advance(number - ours)
        elif kind == STATE:
            state = unpack(State, body)
            self.counters.update(state.counters)
            self._position = msgspec.structs.replace(self._position, heard_us=state.now_us)
            if state.trouble:
                self._trouble = self._told(state.trouble, state.text)

    def _advance(self, count: int) -> None:
        if count:
            self._position = msgspec.structs.replace(self._position, number=self._position.number + count)

    def _raise_trouble(self) -> None:
        if self._trouble:
            raise self._trouble

    async def _receive(self) -> bytes:
        assert self._socket is not None
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, RECEIVE_BYTES)
        except OSError as error:
            raise self._gone(error.strerror or str(error)) from error
        if not data:
            raise self._gone("it closed the connection")
        return data

    @property
    def position(self) -> bytes:
        return _encode(self._position)

    async def release(self, position: bytes) -> None:
        self._send(RELEASE, _known(position).number)

    def _send(self, kind: int, number: int, body: bytes = b"") -> None:
        """A few octets, less often than once a second: they always find room in the socket."""
        assert self._socket is not None
        try:
            self._socket.sendall(message(kind, number, body))
        except OSError as error:
            raise self._gone(error.strerror or str(error)) from error

    @property
    def detail(self) -> str:
        return f"frames from the capture service at {self._path}"

    async def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _told(self, code: str, text: str) -> SourceError:
        return trouble(code if code in CAUSES else "capture_failed", text)

    def _gone(self, why: str) -> SourceError:
        return trouble("capture_service_absent", f"the capture service at {self._path} is gone: {why}")

    def _wrong(self, what: str) -> SourceError:
        return trouble("capture_protocol", f"the capture service at {self._path}: {what}")


def _known(position: bytes | None) -> Position:
    """A position of another program's version is none: the service gives what it has."""
    try:
        return _decode(position) if position else Position()
    except msgspec.DecodeError:
        return Position()


REFUSALS = {
    FileNotFoundError: "capture_service_absent",
    ConnectionRefusedError: "capture_service_absent",
    PermissionError: "capture_socket_denied",
}


async def _connect(path: str) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(opened, path)
    except OSError as error:
        opened.close()
        code = REFUSALS.get(type(error), "capture_failed")
        raise trouble(code, f"no capture service at {path}: {error.strerror or error}") from error
    return opened
