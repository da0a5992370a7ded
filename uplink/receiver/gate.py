"""The gate: which connections are let in, and for how long they may say nothing whole.

Stands between the sockets and aiohttp, which bounds what a request is but neither how many connections there are nor how
slowly one begins to speak (slowloris), takes its answer, or goes on with a body that was refused.

Laws
- A connection that is not let in gets a canned answer and is closed (one that is to speak TLS: closed): no task, no parser, no
  buffer is made for it. So connections are counted before their handshake: one that never comes costs as much as any other.
- Whoever is let in has `head_timeout_s` for the handshake, and as long for each head, and while he takes nothing of an answer
  `stalled_timeout_s`.
- Of a refused body at most REFUSED_BODY_MAX_BYTES more are taken in.
"""

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections import Counter
from collections.abc import Callable

from uplink.receiver.limits import Limits
from uplink.receiver.proxies import Proxies
from uplink.receiver.rates import address_key

REFUSED_BODY_MAX_BYTES = 512 * 1024
"""The largest honest body: its sender comes to read the refusal."""
RETRY_AFTER_S = 5
TLS_BUFFER_BYTES = 32 * 1024
"""What asyncio reads at once of a connection with TLS: it holds that much for each, 256 KiB unless told otherwise."""
_DOCUMENT = b'{"title":"Too many connections","status":503,"code":"busy","detail":"come again later"}'
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: %d\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (RETRY_AFTER_S, len(_DOCUMENT), _DOCUMENT)
)


class Gate:
    """Counts who is in. `tls`: what connections speak, if it is TLS. `turned_away`: by reason, `connections`, `address`,
    `handshake`, `head`, `stalled`, `body`."""

    def __init__(self, limits: Limits, proxies: Proxies | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.limits = limits
        self.proxies = proxies or Proxies()
        self.tls = tls
        if tls is not None:
            SSLProtocol.max_size = TLS_BUFFER_BYTES
        self.turned_away: Counter[str] = Counter()
        self._guests: dict[asyncio.BaseTransport, Guest] = {}
        self._addresses: Counter[str] = Counter()

    @property
    def inside(self) -> int:
        return len(self._guests)

    def guest(self, make: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        return Guest(self, make)

    def let_in(self, guest: "Guest", transport: asyncio.BaseTransport) -> bool:
        reason = self._full(guest.address)
        if reason:
            self.turned_away[reason] += 1
            return False
        self._guests[transport] = guest
        self._addresses[guest.address] += 1
        return True

    def _full(self, address: str) -> str:
        if len(self._guests) >= self.limits.connections_max:
            return "connections"
        if self._addresses[address] >= self.limits.connections_per_address and not self.proxies.has(address):
            return "address"
        return ""

    def changed(self, transport: asyncio.BaseTransport, into: asyncio.BaseTransport) -> None:
        """A connection goes on as another transport."""
        self._guests[into] = self._guests.pop(transport)

    def close(self) -> None:
        """Whoever is still in goes."""
        for transport in list(self._guests):
            if isinstance(transport, asyncio.Transport):
                transport.abort()

    def let_out(self, guest: "Guest", transport: asyncio.BaseTransport) -> None:
        if self._guests.pop(transport, None) is None:
            return
        self._addresses[guest.address] -= 1
        if not self._addresses[guest.address]:
            del self._addresses[guest.address]

    def request_began(self, transport: asyncio.BaseTransport | None) -> None:
        """A whole head came."""
        if transport and (guest := self._guests.get(transport)):
            guest.request_began()

    def request_ended(self, transport: asyncio.BaseTransport | None, *, unread: bool) -> None:
        """It was answered; `unread`: before its body was taken in."""
        if transport and (guest := self._guests.get(transport)):
            guest.request_ended(unread)


class Guest(asyncio.Protocol):
    """One connection: passes everything on to the protocol that `make` makes, if it is let in."""

    def __init__(self, gate: Gate, make: Callable[[], asyncio.Protocol]) -> None:
        self._gate = gate
        self._make = make
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._speaking: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._in_request = False
        self._refused_left: int | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._early = b""
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        self.address = address_key(peer[0]) if peer else ""
        if not self._gate.let_in(self, transport):
            if self._gate.tls is None:
                transport.write(FULL)
            transport.close()
            return
        self._transport = transport
        if self._gate.tls is None:
            self._admit()
        else:
            # Nothing is read before it begins: the task comes before what the next look at the sockets brings.
            self._handshake = asyncio.create_task(self._shake_hands(transport, self._gate.tls), name="handshake")

    async def _shake_hands(self, plain: asyncio.Transport, tls: ssl.SSLContext) -> None:
        timeout_s = self._gate.limits.head_timeout_s
        try:
            secured = await asyncio.get_running_loop().start_tls(
                plain, self, tls, server_side=True, ssl_handshake_timeout=timeout_s
            )
        except OSError:  # ssl.SSLError, a reset, and a time-out (ConnectionAbortedError) are such
            secured = None
        if secured is None or secured.is_closing():  # None too where the other side went in the middle of it
            self._gate.turned_away["handshake"] += 1
            self._gate.let_out(self, plain)
            return
        self._transport = secured
        self._gate.changed(plain, secured)
        self._admit()
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    def _admit(self) -> None:
        assert self._transport is not None
        self._inner = self._make()
        self._inner.connection_made(self._transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            if self._handshake is not None:
                self._early += data  # it came in one piece with the end of the handshake
            return
        if self._refused_left is not None:
            self._refused_left -= len(data)
            if self._refused_left < 0:
                self._turn_away("body")
                return
        if not self._in_request and self._speaking is None:
            self._await_head()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner else None

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in filter(None, (self._speaking, self._stalled)):
            timer.cancel()
        if self._inner is not None and self._transport is not None:
            self._gate.let_out(self, self._transport)
            self._inner.connection_lost(exc)
        self._inner = None

    def pause_writing(self) -> None:
        self._stalled = self._later(self._gate.limits.stalled_timeout_s, "stalled")
        if self._inner:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._stalled:
            self._stalled.cancel()
        if self._inner:
            self._inner.resume_writing()

    def request_began(self) -> None:
        self._in_request = True
        self._refused_left = None
        if self._speaking:
            self._speaking.cancel()
            self._speaking = None

    def request_ended(self, unread: bool) -> None:
        self._in_request = False
        if unread:
            self._refused_left = REFUSED_BODY_MAX_BYTES

    def _await_head(self) -> None:
        self._speaking = self._later(self._gate.limits.head_timeout_s, "head")

    def _later(self, delay_s: float, reason: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s, self._turn_away, reason)

    def _turn_away(self, reason: str) -> None:
        self._gate.turned_away[reason] += 1
        if self._transport:
            self._transport.abort()
