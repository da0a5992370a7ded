"""The capture service: frames from the kernel's ring to the agent, over a Unix socket.

It is the only part of pegcount that holds a capability (CAP_NET_RAW), so it is small and does little: it reads no packet, and
what an agent may ask of it is where to begin and what may be forgotten.

Laws
- What the agent has not released is kept, up to `buffer_mb`, so that an agent that is killed and started again misses nothing.
- One agent at a time, and only root, this process's own user and the agent's user (SO_PEERCRED).
- What keeps it from capturing is told to the agent under its code, and tried again every RETRY_S; it ends only when it is told
  to, or when its socket cannot be made.
"""

import logging
import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from collectors.contract import SourceError
from collectors.sip.live.afpacket import RETIRE_MS, Ring
from collectors.sip.live.bpf import Program
from collectors.sip.live.buffer import Buffer
from collectors.sip.live.door import Agent, listen
from collectors.sip.live.wire import (
    HELLO,
    RELEASE,
    START,
    STATE,
    VERSION,
    Hello,
    State,
    WireError,
    message,
    pack,
)

RETRY_S = 1.0
"""How often an interface that is not there, or down, is looked for; and the agent told how things stand."""

log = logging.getLogger("pegcount.capture")


class CaptureService:
    def __init__(self, interface: str, program: Program, path: Path, buffer_bytes: int, users: frozenset[int]) -> None:
        self._interface, self._program, self._path = interface, program, path
        self._users = users
        self._buffer = Buffer(buffer_bytes)
        self._session = os.urandom(16)
        self._started_us = _now_us()
        self._counters = {"kernel_drops": 0}
        self._ring: Ring | None = None
        self._trouble: SourceError | None = None
        self._agent: Agent | None = None
        self._selector = selectors.DefaultSelector()
        self._listener = listen(path)

    def run(self, stop: int, ready: Callable[[], None]) -> None:
        """Serve until something can be read from the descriptor `stop`. `ready` is called once the socket is there."""
        self._selector.register(stop, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._open_ring()
        ready()
        due = time.monotonic()
        try:
            while True:
                for key, events in self._selector.select(max(0.0, due - time.monotonic())):
                    if key.fd == stop:
                        self._hand_over()
                        return
                    key.data(events)
                if time.monotonic() >= due:
                    due = time.monotonic() + RETRY_S
                    self._every_second()
        finally:
            self._close()

    # --- capturing

    def _open_ring(self) -> None:
        try:
            self._ring = Ring(self._interface, self._program)
        except SourceError as error:
            self._fail(error)
            return
        self._selector.register(self._ring, selectors.EVENT_READ, self._drain)
        self._trouble = None
        log.info("capturing on %s", self._interface)

    def _drain(self, _: int) -> None:
        assert self._ring is not None
        for count, block in self._ring.blocks():
            self._buffer.add(count, block)
        try:
            self._ring.check()
        except SourceError as error:
            self._close_ring()
            self._fail(error)
        if self._agent:
            self._send()

    def _hand_over(self) -> None:
        """Before the end: what the kernel still gathers goes to the agent, as far as its socket takes it at once."""
        if self._ring is not None:
            time.sleep(2 * RETIRE_MS / 1000)
            self._drain(0)

    def _close_ring(self) -> None:
        if self._ring is not None:
            self._count()
            self._selector.unregister(self._ring)
            self._ring.close()
            self._ring = None

    def _fail(self, error: SourceError) -> None:
        if str(error) != str(self._trouble):
            log.warning("%s (%s)", error, error.hint)
        self._trouble = error

    def _count(self) -> None:
        assert self._ring is not None
        self._counters["kernel_drops"] += self._ring.drops()

    def _every_second(self) -> None:
        if self._ring is None:
            self._open_ring()
        else:
            self._count()
        if self._agent and self._agent.asked and not self._agent.waiting:
            code, text = self._told()
            self._agent.queue(message(STATE, 0, pack(State(_now_us(), self._counters, code, text))))
            self._send()

    def _told(self) -> tuple[str, str]:
        return (self._trouble.code, str(self._trouble)) if self._trouble else ("", "")

    # --- the agent

    def _accept(self, _: int) -> None:
        try:
            agent = Agent(self._listener.accept()[0])
        except OSError:  # it has gone away meanwhile
            return
        code, text = self._told()
        if agent.user not in self._users:
            code, text = "capture_peer_refused", f"user {agent.user} may not have what is captured"
        elif self._agent:
            code, text = "capture_socket_taken", "another agent is connected to the capture service"
        agent.queue(
            message(HELLO, 0, pack(Hello(VERSION, self._session, self._started_us, self._buffer.first, code, text)))
        )
        if code:
            with suppress(OSError):
                agent.send()
            agent.socket.close()
            return
        self._agent = agent
        self._selector.register(agent.socket, selectors.EVENT_READ, self._talk)
        self._send()

    def _talk(self, events: int) -> None:
        if self._agent is None:  # parted with while another event of the same moment was looked at
            return
        try:
            if events & selectors.EVENT_READ:
                for kind, number, body in self._agent.hear():
                    self._asked(kind, number, body)
            self._send()
        except (OSError, WireError) as error:
            self._part(error)

    def _asked(self, kind: int, number: int, body: bytes) -> None:
        assert self._agent is not None
        if kind == START:
            self._buffer.begin(number if body == self._session else 0)
            self._agent.asked = True
        elif kind == RELEASE:
            self._buffer.release(number)

    def _send(self) -> None:
        """What is queued, then blocks, as long as the socket takes them."""
        agent = self._agent
        if agent is None:
            return
        try:
            while agent.send() and agent.asked and (block := self._buffer.next()):
                agent.queue(block)
        except OSError as error:
            self._part(error)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if agent.waiting else 0)
        self._selector.modify(agent.socket, wanted, self._talk)

    def _part(self, why: Exception) -> None:
        assert self._agent is not None
        log.info("the agent is gone: %s", why)
        self._selector.unregister(self._agent.socket)
        self._agent.socket.close()
        self._agent = None

    def _close(self) -> None:
        self._close_ring()
        if self._agent:
            self._part(InterruptedError("the service ends"))
        self._selector.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)


def _now_us() -> int:
    return time.time_ns() // 1_000
