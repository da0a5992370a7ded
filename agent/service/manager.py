"""The service manager's side (systemd): readiness, watchdog, status line, and sockets that it holds for us.

Sources: sd_notify(3), sd_listen_fds(3). Without systemd all of it does nothing.
"""

import os
import socket
from pathlib import Path

FIRST_INHERITED_FD = 3
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def notify(*lines: str) -> None:
    """Tell the service manager, for example `READY=1`. A datagram that cannot be sent is no reason to fail."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto("\n".join(lines).encode(), address)
        except OSError:
            return


def boot_id() -> str:
    """The kernel's name for this boot (random(4)); empty where it has none."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def watchdog_interval_s() -> float:
    """How often to say WATCHDOG=1: half of what the manager allows; 0 where it does not watch."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 2_000_000


def inherited_sockets() -> dict[str, int]:
    """Sockets that the manager passed, by name (FileDescriptorName= in the socket unit)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    numbers = range(FIRST_INHERITED_FD, FIRST_INHERITED_FD + count)
    for number in numbers:
        os.set_inheritable(number, False)
    return {names[place] if place < len(names) else str(place): number for place, number in enumerate(numbers)}
