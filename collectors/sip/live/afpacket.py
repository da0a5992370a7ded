"""Frames as the kernel hears them: an AF_PACKET socket with a TPACKET_V3 ring, of which whole blocks are taken.

Laws
- The socket hears nothing before its filter stands: it is made for no protocol, and bound last. The filter is then locked.
- A named interface is put into promiscuous mode, without which the port of a switch that mirrors the telephones would be of
  no use; that needs no further capability.
- Whatever prevents it raises a SourceError with a code of its own (trouble.py).

Sources: packet(7); Documentation/networking/packet_mmap.rst of the kernel; linux/if_packet.h.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct as Layout
from struct import pack, unpack

from collectors.contract import SourceError
from collectors.sip.live.blocks import BLOCK_HEAD
from collectors.sip.live.bpf import Program
from collectors.sip.live.trouble import trouble

ANY = "any"
ETH_P_ALL = 3
SOL_PACKET = 263
ADD_MEMBERSHIP, RX_RING, STATISTICS, VERSION = 1, 5, 6, 10
MR_PROMISC = 1
TPACKET_V3 = 2
SO_ATTACH_FILTER, SO_LOCK_FILTER = 26, 44
SIOCGIFFLAGS, IFF_UP, IFF_LOOPBACK = 0x8913, 0x1, 0x8

BLOCK_BYTES = 1 << 20
"""Sixteen of the largest packets that segmentation offload gives (64 KiB)."""
BLOCKS = 16
"""16 MiB: at 10,000 SIP messages a second two seconds in which the service may not get to run."""
FRAME_BYTES = 1 << 11
"""Only what the kernel checks the sizes by; a block holds packets of any length, one after the other."""
RETIRE_MS = 100
"""A block that is not full is handed over after so long."""
STATUS_USER = 1
STATUS_AT = 8

_STATUS = Layout("=I")
_libc = ctypes.CDLL(None, use_errno=True)

REFUSALS = {
    errno.EPERM: "capture_no_capability",
    errno.EACCES: "capture_no_capability",
    errno.EAFNOSUPPORT: "capture_unsupported",
    errno.ENOPROTOOPT: "capture_unsupported",
    errno.EPROTONOSUPPORT: "capture_unsupported",
    errno.ENODEV: "capture_no_interface",
    errno.ENXIO: "capture_no_interface",
    errno.ENETDOWN: "capture_interface_down",
    errno.ENOMEM: "capture_no_memory",
    errno.ENOBUFS: "capture_no_memory",
}


class Ring:
    """One capture. `interface`: a name, or `any`. Raises SourceError."""

    def __init__(self, interface: str, program: Program) -> None:
        self.interface = interface
        self._at = 0
        with self._refusals():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            with self._refusals():
                self._set_up(program)
        except SourceError:
            self._socket.close()
            raise

    def _set_up(self, program: Program) -> None:
        if self.interface != ANY:
            self._look_at_interface()
        self._attach(program)
        self._socket.setsockopt(SOL_PACKET, VERSION, TPACKET_V3)
        frames = BLOCK_BYTES * BLOCKS // FRAME_BYTES
        ring = pack("=7I", BLOCK_BYTES, BLOCKS, FRAME_BYTES, frames, RETIRE_MS, 0, 0)
        self._socket.setsockopt(SOL_PACKET, RX_RING, ring)
        self._memory = mmap.mmap(self._socket.fileno(), BLOCK_BYTES * BLOCKS)
        self._bind(0 if self.interface == ANY else socket.if_nametoindex(self.interface))

    def _bind(self, index: int) -> None:
        """Python's own bind knows no index 0, which is all interfaces."""
        address = pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(ETH_P_ALL), index, 0, 0, 0, b"")
        if _libc.bind(self._socket.fileno(), address, len(address)):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def _look_at_interface(self) -> None:
        names = [name for _, name in socket.if_nameindex()]
        if self.interface not in names:
            raise trouble(
                "capture_no_interface",
                f"there is no network interface {self.interface} (now); there are {', '.join(sorted(names))}",
            )
        request = fcntl.ioctl(self._socket, SIOCGIFFLAGS, pack("=16sH14x", self.interface.encode(), 0))
        (flags,) = unpack("=16xH14x", request)
        if not flags & IFF_UP:
            raise trouble("capture_interface_down", f"the network interface {self.interface} is down")
        if not flags & IFF_LOOPBACK:
            index = socket.if_nametoindex(self.interface)
            self._socket.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, pack("=iHH8s", index, MR_PROMISC, 0, b""))

    def _attach(self, program: Program) -> None:
        octets = ctypes.create_string_buffer(b"".join(pack("=HBBI", *one) for one in program))
        try:
            given = pack("HP", len(program), ctypes.addressof(octets))
            self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, given)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
        except OSError as error:
            text = f"the kernel refuses a filter of {len(program)} instructions: {error.strerror}"
            raise trouble("capture_filter_refused", text) from error

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Give what the operating system refuses its code."""
        try:
            yield
        except OSError as error:
            code = REFUSALS.get(error.errno or 0, "capture_failed")
            raise trouble(code, f"cannot capture on {self.interface}: {error.strerror}") from error

    def fileno(self) -> int:
        return int(self._socket.fileno())

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """How many frames, and the block, for each that the kernel has handed over; it is given back at once."""
        for _ in range(BLOCKS):
            start = self._at * BLOCK_BYTES
            status, count, _, length = BLOCK_HEAD.unpack_from(self._memory, start)
            if not status & STATUS_USER:
                return
            block = self._memory[start : start + length]
            _STATUS.pack_into(self._memory, start + STATUS_AT, 0)
            self._at = (self._at + 1) % BLOCKS
            yield count, block

    def check(self) -> None:
        """Raises SourceError where the interface has gone down or away since."""
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number:
            return
        with self._refusals():
            if number == errno.ENETDOWN:
                self._look_at_interface()
            raise OSError(number, os.strerror(number))

    def drops(self) -> int:
        """Packets that the kernel had to drop since it was last asked."""
        return int(unpack("=III", self._socket.getsockopt(SOL_PACKET, STATISTICS, 12))[1])

    def close(self) -> None:
        self._memory.close()
        self._socket.close()
