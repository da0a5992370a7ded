"""UDP sockets that listen: bound here, or inherited from the service manager.

Laws
- What cannot be bound raises `SourceUnavailable` (try again) or `SourceMisconfigured` (mend the configuration), with a
  hint; nothing else leaves this module.
- A socket that the service manager holds is taken as it is, and closed here without being closed there: what arrives
  while nobody reads waits in its buffer.
"""

import errno
import ipaddress
import os
import socket
from collections.abc import Mapping
from struct import unpack

from collectors.contract import SourceMisconfigured, SourceUnavailable
from collectors.io.origin import DATAGRAM, ORIGIN_BYTES, packed
from collectors.io.segment import DATAGRAM_MAX_BYTES

RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024
"""Some 6,000 SIP messages in the kernel's accounting (it counts about 1.3 kB beside each): half a minute of the traffic
of 1,000 phones. The kernel doubles the number for that accounting."""

SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
MEMINFO_DROPS = 8
"""include/uapi/linux/sock_diag.h; SO_MEMINFO since Linux 4.12."""

REFUSALS = {
    errno.EADDRINUSE: (
        SourceUnavailable,
        "another program has this port; find it with 'ss -tulpn' and give one of the two another port",
    ),
    errno.EADDRNOTAVAIL: (SourceUnavailable, "this machine has no such address (yet); see 'ip address'"),
    errno.EAFNOSUPPORT: (SourceMisconfigured, "this machine has no IPv6: listen on an IPv4 address"),
    errno.EACCES: (SourceMisconfigured, "ports below 1024 need CAP_NET_BIND_SERVICE; 9060 needs nothing"),
}


def parse_listen(listen: str) -> tuple[str, int]:
    """`127.0.0.1:9060` or `[::1]:9060`. Raises SourceMisconfigured where it is neither."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65_536:
        raise SourceMisconfigured(f"listen = {listen!r} is no address", "write it as 127.0.0.1:9060 or [::1]:9060")
    return host, number


def is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def open_datagrams(name: str, listen: str, inherited: Mapping[str, int]) -> socket.socket:
    """The socket that the service manager holds under `name`, else a new one bound to `listen`; it does not block."""
    opened = _inherit(name, inherited[name]) if name in inherited else bind(*parse_listen(listen), socket.SOCK_DGRAM)
    opened.setblocking(False)
    _enlarge(opened)
    return opened


def _inherit(name: str, descriptor: int) -> socket.socket:
    hint = "the unit's socket needs ListenDatagram= and FileDescriptorName= with the name of this source"
    try:
        inherited = socket.socket(fileno=os.dup(descriptor))
    except OSError as error:
        raise SourceMisconfigured(f"file descriptor {descriptor} for {name} is no socket: {error}", hint) from error
    internet = inherited.family in (socket.AF_INET, socket.AF_INET6)
    if not internet or inherited.type != socket.SOCK_DGRAM or not inherited.getsockname()[1]:
        inherited.close()
        raise SourceMisconfigured(f"file descriptor {descriptor} for {name} is no bound UDP socket", hint)
    return inherited


def bind(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Raises SourceUnavailable and SourceMisconfigured."""
    opened = None
    try:
        opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        if kind == socket.SOCK_STREAM:  # else the port could not be had for a minute after each restart
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
    except OSError as error:
        if opened:
            opened.close()
        refusal, hint = REFUSALS.get(error.errno or 0, (SourceUnavailable, ""))
        raise refusal(f"cannot listen on {host} port {port}: {error.strerror}", hint) from error
    return opened


class Datagrams:
    """A socket's datagrams, each behind its origin: a source for a journal."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened

    def recv_into(self, buffer: memoryview, /) -> int:
        length, address = self._socket.recvfrom_into(buffer[ORIGIN_BYTES : ORIGIN_BYTES + DATAGRAM_MAX_BYTES])
        if not length:
            return 0
        buffer[:ORIGIN_BYTES] = packed(DATAGRAM, address[0], address[1])
        return ORIGIN_BYTES + length


def _enlarge(opened: socket.socket) -> None:
    """Ask for RECEIVE_BUFFER_BYTES: beyond net.core.rmem_max where we may (CAP_NET_ADMIN), else up to it."""
    if receive_buffer_bytes(opened) >= RECEIVE_BUFFER_BYTES:
        return
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def receive_buffer_bytes(opened: socket.socket) -> int:
    """What was got, without the kernel's doubling."""
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def kernel_drops(opened: socket.socket) -> int:
    """Datagrams that the kernel dropped because the buffer was full (or the checksum wrong), since the socket was made;
    0 where the kernel does not say."""
    try:
        info = opened.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * 16)
    except OSError:
        return 0
    words = unpack(f"={len(info) // 4}I", info)
    return int(words[MEMINFO_DROPS]) if len(words) > MEMINFO_DROPS else 0
