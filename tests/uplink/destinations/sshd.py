"""Debian's OpenSSH server, for tests: on loopback, with its own host key, for this very user by one key."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pytest

from tests.uplink.receiver.postgres import free_port

SSHD = Path("/usr/sbin/sshd")
START_S = 10.0
needs_sshd = pytest.mark.skipif(not SSHD.exists(), reason="needs Debian's openssh-server")


def new_key(path: Path, kind: str = "ed25519") -> Path:
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    return path


class Sshd:
    """Within `with` it runs. `sftp`: what serves SFTP; `more`: further lines of its configuration; `before`: of a command that
    it is started by."""

    def __init__(self, folder: Path, sftp: str = "/usr/lib/openssh/sftp-server", more: str = "") -> None:
        self.port = free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.key = new_key(folder / "client")
        self.host_key = new_key(folder / "host")
        self.known_hosts = folder / "known_hosts"
        self.before: list[str] = []
        self._folder = folder
        self.configure(sftp, more)
        self.write_known_hosts()

    def configure(self, sftp: str = "", more: str = "") -> None:
        lines = [
            f"ListenAddress 127.0.0.1:{self.port}",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self.key}.pub",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "PidFile none",
            "MaxStartups 100",
            f"Subsystem sftp {sftp}" if sftp else "",
            more,
        ]
        (self._folder / "sshd_config").write_text("\n".join(lines) + "\n")

    def write_known_hosts(self) -> None:
        public = Path(f"{self.host_key}.pub").read_text()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}")

    def fingerprint(self) -> str:
        shown = subprocess.run(["ssh-keygen", "-lf", self.host_key], capture_output=True, text=True, check=True).stdout
        return shown.split()[1]

    def log(self) -> str:
        return (self._folder / "sshd.log").read_text()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        if os.getuid() == 0:  # where it gives up its rights; Debian's unit makes it
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        command = [*self.before, str(SSHD), "-D", "-f", str(self._folder / "sshd_config")]
        with (self._folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen([*command, "-e"], stderr=log)
        until = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until, self.log()
                assert self._process.poll() is None, self.log()
                time.sleep(0.02)

    def stop(self) -> None:
        """With all its sessions."""
        for process in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self._process.wait(START_S)
