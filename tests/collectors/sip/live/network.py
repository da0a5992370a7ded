"""A network of its own: a network namespace with nothing in it but loopback, and what a test adds."""

import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fcntl import ioctl
from typing import TypeVar

import pytest

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
Given = TypeVar("Given")


class Network:
    """One thread lives in the namespace: sockets and processes that it makes are of it, and it ends with the last of them."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self.inside(_leave_for_a_new_one)
        self.switch("lo", True)

    def inside(self, call: Callable[[], Given]) -> Given:
        return self._thread.submit(call).result()

    def switch(self, interface: str, up: bool) -> None:
        def flags() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                name = interface.encode()
                _, now = struct.unpack("16sH14x", ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH14x", name, 0)))
                wanted = now | IFF_UP if up else now & ~IFF_UP
                ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", name, wanted))

        self.inside(flags)

    def ip(self, *arguments: str) -> None:
        self.inside(lambda: subprocess.run(["ip", *arguments], check=True, capture_output=True))

    def start(self, *command: str, **more: object) -> subprocess.Popen[bytes]:
        return self.inside(lambda: subprocess.Popen(command, **more))  # type: ignore[call-overload, no-any-return]

    def close(self) -> None:
        self._thread.shutdown()


def _leave_for_a_new_one() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def network() -> Iterator[Network]:
    try:
        one = Network()
    except PermissionError:
        pytest.skip("making a network namespace needs root")
    yield one
    one.close()
