"""Connections that senders open to us over TCP or TLS, each read into the journal.

Laws
- What is read off a connection is read straight into the journal: no octet is anywhere else first, and none is looked at here.
  Its end is noted there too. So a kill loses what was in the kernel's buffer, and of an unfinished packet nothing is left to
  wait for, since the connection is gone with it.
- Connections are bounded: where the limit is reached the one that has been silent longest goes. Silence alone cuts nobody: a
  phone system says nothing at night, and a sender that finds its connection cut loses what it writes next. Peers that
  are gone are found by the kernel (TCP keep-alive).
- While the journal is full nothing is read; TCP then holds the sender back.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator

from collectors.io.journal import Journal
from collectors.io.origin import CHUNK, END, NO_ORIGIN, ORIGIN_BYTES, packed

CONNECTIONS_MAX = 256
"""A site has a handful of phone systems; what comes beyond that is a mistake or an attack. Also bounds unfinished packets."""
CHUNK_MAX_BYTES = 65_535
READS_AT_ONCE = 16
"""Reads of one connection before others have their turn: up to a megabyte."""
ACCEPT_AT_ONCE = 64
ACCEPT_AGAIN_S = 1.0
"""After a failed accept (no file descriptor left)."""
HANDSHAKE_S = 10.0
"""A TLS handshake is three round trips at most."""
WRITE_AGAIN_S = 0.05
"""A handshake's answer that does not fit into the socket's empty buffer is hardly ever met."""
KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVE_PROBES = 60, 15, 4
"""A peer that is gone is known after two minutes."""

COUNTERS = ("connections", "connections_evicted", "connections_cut", "tls_failed", "accept_failed")


class _Ended(Exception):
    """The peer has closed the connection, or it broke."""


class _Connection:
    """A source for the journal. `number`: see `collectors.io.origin`."""

    def __init__(self, opened: socket.socket, number: int, host: str, port: int) -> None:
        self.socket = opened
        self.number = number
        self.host, self.port = host, port
        self.heard_at = time.monotonic()
        self.shaking = isinstance(opened, ssl.SSLSocket)
        self._origin = packed(CHUNK, host, port, number)

    def recv_into(self, buffer: memoryview, /) -> int:
        buffer[:ORIGIN_BYTES] = self._origin
        length = 0
        try:
            length = self.socket.recv_into(buffer[ORIGIN_BYTES : ORIGIN_BYTES + CHUNK_MAX_BYTES])
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as wait:
            raise BlockingIOError from wait
        except OSError as error:
            raise _Ended from error
        finally:
            if not length:
                buffer[:ORIGIN_BYTES] = NO_ORIGIN
        if not length:
            raise _Ended
        return ORIGIN_BYTES + length


class StreamServer:
    """One listening socket. `heard` is called after something was read into the journal."""

    def __init__(
        self,
        listener: socket.socket,
        journal: Journal,
        numbers: Iterator[int],
        tls: ssl.SSLContext | None,
        now_us: Callable[[], int],
        heard: Callable[[], None],
    ) -> None:
        """`numbers`: where the connections' numbers come from, one for all servers of a journal."""
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.listener = listener
        self._journal = journal
        self._numbers = numbers
        self._tls = tls
        self._now_us = now_us
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._connections: dict[int, _Connection] = {}
        self._paused = False
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        self._loop.remove_reader(self.listener)
        self.listener.close()
        for connection in list(self._connections.values()):
            self._end(connection)

    def cut(self, numbers: Iterable[int]) -> None:
        """End these connections, as far as they are ours: their senders are slow or hostile."""
        for number in numbers:
            if connection := self._connections.get(number):
                self.counters["connections_cut"] += 1
                self._end(connection)

    def pause(self, paused: bool) -> None:
        """Read nothing, or go on reading."""
        if paused == self._paused:
            return
        self._paused = paused
        for connection in self._connections.values():
            if paused:
                self._loop.remove_reader(connection.socket)
            else:
                self._loop.add_reader(connection.socket, self._read, connection)
                self._loop.call_soon(self._read, connection)

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                opened, address = self.listener.accept()
            except BlockingIOError:
                return
            except OSError:
                self.counters["accept_failed"] += 1
                self._loop.remove_reader(self.listener)
                self._loop.call_later(ACCEPT_AGAIN_S, self._listen_again)
                return
            self._begin(opened, address[0], address[1])

    def _listen_again(self) -> None:
        if self.listener.fileno() >= 0:
            self._loop.add_reader(self.listener, self._accept)

    def _begin(self, opened: socket.socket, host: str, port: int) -> None:
        self.counters["connections"] += 1
        if len(self._connections) >= CONNECTIONS_MAX:
            self.counters["connections_evicted"] += 1
            self._end(min(self._connections.values(), key=lambda one: one.heard_at))
        opened.setblocking(False)
        _keep_alive(opened)
        if self._tls:
            opened = self._tls.wrap_socket(opened, server_side=True, do_handshake_on_connect=False)
        connection = _Connection(opened, next(self._numbers), host, port)
        self._connections[connection.number] = connection
        if connection.shaking:
            self._loop.call_later(HANDSHAKE_S, self._give_up_shaking, connection)
        if not self._paused:
            self._loop.add_reader(opened, self._read, connection)

    def _read(self, connection: _Connection) -> None:
        if self._paused or connection.number not in self._connections:
            return
        if connection.shaking and not self._shake(connection):
            return
        taken, ended = 0, False
        try:
            taken = self._journal.receive(connection, READS_AT_ONCE, self._now_us())
        except _Ended:
            ended = True
        if taken or ended:
            connection.heard_at = time.monotonic()
            self._heard()
        if ended:
            self._end(connection)
        elif taken == READS_AT_ONCE:  # the rest may lie within TLS, where the loop does not see it
            self._loop.call_soon(self._read, connection)

    def _shake(self, connection: _Connection) -> bool:
        """Go on with the TLS handshake; whether it is done."""
        assert isinstance(connection.socket, ssl.SSLSocket)
        try:
            connection.socket.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self._loop.call_later(WRITE_AGAIN_S, self._read, connection)
            return False
        except OSError:
            self.counters["tls_failed"] += 1
            self._end(connection)
            return False
        connection.shaking = False
        return True

    def _give_up_shaking(self, connection: _Connection) -> None:
        if connection.shaking and connection.number in self._connections:
            self.counters["tls_failed"] += 1
            self._end(connection)

    def _end(self, connection: _Connection) -> None:
        del self._connections[connection.number]
        self._loop.remove_reader(connection.socket)
        connection.socket.close()
        self._journal.append(packed(END, connection.host, connection.port, connection.number), self._now_us())


def _keep_alive(opened: socket.socket) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
