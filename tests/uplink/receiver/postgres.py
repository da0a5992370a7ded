"""A PostgreSQL server of its own for tests: Debian's binaries, a cluster in a temporary folder, a port on loopback.

PostgreSQL refuses to run as root: then it runs as `postgres`, whom Debian's package brings.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
START_S = 20.0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Cluster:
    """Within `with` it runs. `url` is that of its first database."""

    def __init__(self) -> None:
        if not BINARIES:
            pytest.skip("needs Debian's package postgresql")
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="pegcount-pg-"))
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(signal.SIGINT)
        shutil.rmtree(self._folder)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        where = ["-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self._folder)]
        self._process = subprocess.Popen(
            [str(BINARIES[-1] / "postgres"), *where],
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "log").open("ab"),
        )
        until = time.monotonic() + START_S
        while subprocess.run([BINARIES[-1] / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            assert time.monotonic() < until, (self._folder / "log").read_text()
            time.sleep(0.05)

    def stop(self, number: signal.Signals) -> None:
        """SIGINT is PostgreSQL's fast shutdown; SIGQUIT is as near to a crash as it comes by itself."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(START_S)

    def empty(self) -> str:
        """The URL of a database that nobody has used."""
        self._databases += 1
        name = f"t{self._databases}"
        self.ask("postgres", f"CREATE DATABASE {name} STRATEGY file_copy")
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def ask(self, database: str, statement: str) -> str:
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database]
        return self._run("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where, "-c", statement).strip()

    def _run(self, program: str, *arguments: str) -> str:
        return subprocess.run(
            [str(BINARIES[-1] / program), *arguments],
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            cwd=self._folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
