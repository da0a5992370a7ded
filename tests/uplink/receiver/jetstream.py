"""A NATS server of its own for tests, with JetStream in a temporary folder, a port on loopback, and every write on the disk."""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.uplink.receiver.postgres import free_port

BINARY = Path(sys.executable).parent / "nats-server"
START_S = 10.0


class NatsServer:
    """Within `with` it runs. `more`: further lines of its configuration."""

    def __init__(self, more: str = "") -> None:
        self.port = free_port()
        self._more = more
        self.folder = Path(tempfile.mkdtemp(prefix="pegcount-nats-"))

    def __enter__(self) -> Self:
        (self.folder / "nats.conf").write_text(
            f"listen: 127.0.0.1:{self.port}\njetstream {{ store_dir: {self.folder}, sync_interval: always }}\n{self._more}"
        )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(signal.SIGTERM)
        shutil.rmtree(self.folder)

    def start(self) -> None:
        self._process = subprocess.Popen(
            [BINARY, "-c", self.folder / "nats.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until
                assert self._process.poll() is None
                time.sleep(0.02)

    def stop(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.wait(START_S)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}/PEGCOUNT"
