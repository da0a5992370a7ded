"""dumpcap as a child: what it is started with, and what its words mean.

Laws
- What keeps it from capturing is told under the code of its cause (trouble.py), whether the kernel refuses to start it or
  dumpcap itself says so.
- Kernel drops are counted when it ends: it tells them then, and at no other time.
- An agent that was killed finds its dumpcap again (`adopt`) by the folder that it writes into, and never starts a second: what
  a process was started with stands in its command line from its first moment on; no file of ours could be half written.
"""

import errno
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from collectors.contract import SourceError
from collectors.sip.live.trouble import trouble

KERNEL_BUFFER_MB = 16
"""As much as was measured to hold 100,000 packets a second without a drop; dumpcap's own 2 are a tenth of a second."""
WORDS = "dumpcap.log"
PIPE = "-"
ENDING_S = 3.0
"""dumpcap ends within one turn of its loop, 0.25 s."""

CAUSES: tuple[tuple[str, str], ...] = (  # what dumpcap 4.0 and libpcap 1.10 say, the first that is found
    (r"is not up|interface .* went down", "capture_interface_down"),
    (r"There is no device named|No such device|no longer attached", "capture_no_interface"),
    (r"do not have permission|Operation not permitted", "capture_no_capability"),
    (r"Invalid capture filter", "capture_filter_refused"),
    (r"No space left|not enough space|full", "capture_disk_full"),
)
REFUSALS = {
    errno.EACCES: "capture_dumpcap_denied",
    errno.EPERM: "capture_dumpcap_bounded",
}
"""Why the kernel refuses to start it. EPERM: execve(2), a file with capabilities that the bounding set does not hold."""
DROPPED = re.compile(r"received/dropped on interface '.*': (\d+)/(\d+)")
NO_TAGS = re.compile(r"no VLAN support")


class Dumpcap:
    """At most one running dumpcap in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.kernel_drops = 0
        self.output = -1
        """Its standard output, where it writes to that."""
        self._folder = folder.absolute()
        self._child: subprocess.Popen[bytes] | None = None
        self._process = -1
        """A pidfd, -1 where none runs."""

    def start(self, arguments: Sequence[str], output: str) -> None:
        """`output`: a file's name, or `-` for a pipe. Raises SourceUnavailable and SourceMisconfigured."""
        program = shutil.which("dumpcap", os.F_OK)  # one that may not be run is there all the same
        if program is None:
            raise trouble("capture_dumpcap_absent", "dumpcap is not installed")
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / WORDS, "wb") as words:
            try:
                self._child = subprocess.Popen(
                    [program, *arguments, "-w", output if output == PIPE else str(self._folder / output)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE if output == PIPE else subprocess.DEVNULL,
                    stderr=words,
                    cwd=self._folder,
                    start_new_session=True,
                    env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(self._folder)},
                )
            except OSError as error:
                code = REFUSALS.get(error.errno or 0, "capture_failed")
                raise trouble(code, f"dumpcap cannot be started: {error.strerror}") from error
        self._process = os.pidfd_open(self._child.pid)
        if self._child.stdout:
            self.output = self._child.stdout.fileno()
            os.set_blocking(self.output, False)

    def adopt(self, *known_arguments: Sequence[str]) -> bool:
        """Whether one runs here already with one of these arguments. One that was started with others is ended."""
        for pid, arguments in _writing_into(self._folder):
            with suppress(ProcessLookupError):
                self._process = os.pidfd_open(pid)
                if any(arguments == list(known) for known in known_arguments):
                    return True
                self.end()
        return False

    @property
    def runs(self) -> bool:
        return self._process >= 0 and not select.select([self._process], [], [], 0)[0]

    def capturing(self, wait_s: float) -> bool:
        """Wait until it says where it writes to: it has opened the interface then. False where it ended instead."""
        until = time.monotonic() + wait_s
        while self.runs and time.monotonic() < until:
            if "File: " in self._said():
                return True
            time.sleep(0.01)
        return self.runs

    def end(self) -> None:
        """End it, as it ends by itself: what it has captured is written out."""
        if self._process >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGTERM)
            if not select.select([self._process], [], [], ENDING_S)[0]:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._process, signal.SIGKILL)
            self.bury()

    def bury(self) -> str:
        """It has ended: take its last words and what it dropped; gives what it said."""
        if self._child is not None:
            self._child.wait()
            if self._child.stdout:
                self._child.stdout.close()
            self._child = None
        if self._process >= 0:
            os.close(self._process)
            self._process = -1
        said = self._said()
        self.kernel_drops += sum(int(dropped) for _, dropped in DROPPED.findall(said))
        return said

    def failure(self, interface: str) -> SourceError:
        """Why it ended, to be raised."""
        said = self.bury()
        complaints = [line.removeprefix("dumpcap: ") for line in said.splitlines() if line.startswith("dumpcap: ")]
        text = complaints[0] if complaints else (said.splitlines() or ["it said nothing"])[-1]
        code = next((code for pattern, code in CAUSES if re.search(pattern, said)), "capture_failed")
        return trouble(code, f"dumpcap on {interface}: {text}")

    def refuses_tags(self) -> bool:
        return bool(NO_TAGS.search(self._said()))

    def _said(self) -> str:
        return (self._folder / WORDS).read_text("utf-8", "replace")


def _writing_into(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """Each dumpcap that writes into this folder, and what it was started with."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_text("utf-8", "surrogateescape").split("\0")[:-1]
            if words[-2:-1] == ["-w"] and words[0].endswith("dumpcap") and Path(words[-1]).parent == folder:
                yield int(path.parent.name), words[1:-2]


SIOCGIFFLAGS, IFF_UP, IFREQ_BYTES = 0x8913, 1, 40
"""netdevice(7)"""


def is_up(interface: str) -> bool:
    """libpcap says nothing of an interface that is switched off while it captures."""
    if interface == "any":
        return True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            told = fcntl.ioctl(asked, SIOCGIFFLAGS, interface.encode().ljust(IFREQ_BYTES, b"\0"))
        except OSError:
            return True  # that it is gone dumpcap says by itself
    return bool(int.from_bytes(told[16:18], sys.byteorder) & IFF_UP)
