"""Processes that come back, and a killer that makes them need to.

Laws
- A `Supervised` process is started again whenever it ends, like a service with `Restart=always`. An end that nobody
  asked for is kept in `surprises`: a test asserts that there are none.
- It may be given sockets the way systemd gives them (sd_listen_fds(3)): they belong to the test, so what is sent to them
  while the process is dead waits in the kernel.
- Only processes started here are killed, by their process id.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

LISTEN_FDS_START = 3
"""sd_listen_fds(3): the first descriptor that is passed."""

RESTART_AFTER_S = 0.1
"""systemd's own default of RestartSec."""

STOP_LIMIT_S = 15
"""Longer than a service takes to write its last batch and end."""


def handing_over(sockets: Mapping[str, socket.socket], command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The command and environment that give `sockets` to `command`: they lie at 3, 4, ... and LISTEN_PID names the
    process itself, so a small Python puts them there and becomes the command."""
    descriptors = [held.fileno() for held in sockets.values()]
    becoming = (
        "import os, sys, fcntl\n"
        f"held = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in {descriptors!r}]\n"
        f"[os.dup2(fd, {LISTEN_FDS_START} + n) for n, fd in enumerate(held)]\n"
        "[os.close(fd) for fd in held]\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "os.execvp(sys.argv[1], sys.argv[1:])\n"
    )
    names = {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": ":".join(sockets)}
    return [sys.executable, "-c", becoming, *command], names


class Supervised:
    """`with Supervised("agent", command, log=path) as agent:` runs it until the block is left, then ends it in peace."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        sockets: Mapping[str, socket.socket] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.kills = 0
        self.surprises: list[int] = []
        self._sockets = dict(sockets or {})
        self._command, handed = handing_over(self._sockets, command) if self._sockets else (list(command), {})
        self._environment = {**os.environ, **handed, **(environment or {})}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._doomed: set[int] = set()
        self._keeper = threading.Thread(target=self._keep, name=f"keep {name}", daemon=True)

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def kill(self) -> bool:
        """SIGKILL; False where it was not running at this moment."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return False
            self._doomed.add(self._process.pid)
            self._process.kill()
            self.kills += 1
            return True

    def stop(self) -> None:
        """SIGTERM and wait; it does not come back. A second stop does nothing."""
        with self._lock:
            self._stopping.set()
            process = self._process
            if process is not None and process.poll() is None:
                self._doomed.add(process.pid)
                process.send_signal(signal.SIGTERM)
        self._keeper.join(STOP_LIMIT_S)
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.name} did not end within {STOP_LIMIT_S} s of SIGTERM; see {self.log}")

    def _keep(self) -> None:
        while not self._stopping.is_set():
            with self.log.open("ab") as out:
                process = self._start(out.fileno())
            if process is None:
                return
            code = process.wait()
            if process.pid not in self._doomed:
                self.surprises.append(code)
            self._stopping.wait(RESTART_AFTER_S)

    def _start(self, out: int) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environment,
                pass_fds=[held.fileno() for held in self._sockets.values()],
            )
            return self._process


class Killer:
    """Kills each victim `times` at random moments within `over_s`, in a thread of its own; `seed` makes it repeatable.

    A victim that is just not there (it is being restarted) is killed as soon as it is."""

    def __init__(self, victims: Sequence[Supervised], *, times: int, over_s: float, seed: int) -> None:
        chance = random.Random(seed)
        self.plan = sorted((chance.uniform(0, over_s), n) for n in range(len(victims)) for _ in range(times))
        self._victims = victims
        self._thread = threading.Thread(target=self._kill, name="killer", daemon=True)
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait until all have been killed as often as planned; on an error, stop at once."""
        if error is not None:
            self._over.set()
        self._thread.join()

    def _kill(self) -> None:
        began = time.monotonic()
        for moment_s, victim in self.plan:
            if self._over.wait(max(0.0, began + moment_s - time.monotonic())):
                return
            while not self._victims[victim].kill() and not self._over.wait(0.01):
                pass
