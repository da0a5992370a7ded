"""The same network of its own for the thread that a test runs in, and so for what a source under test starts in it."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from collectors.sip.packets import SipPacket
from tests.collectors.sip.live.network import CLONE_NEWNET


@contextmanager
def own_network(*, up: bool = True) -> Iterator[None]:
    """Needs root. The thread is back in the network it came from afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "no network namespace to be had")
        if up:
            link("set lo up")
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


def link(command: str) -> None:
    subprocess.run(["ip", "link", *command.split()], check=True)


def play(packets: Sequence[SipPacket], port: int = 5060) -> None:
    """Send these messages over loopback, each as a datagram to `port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for packet in packets:
            sender.sendto(packet.payload, ("127.0.0.1", port))
