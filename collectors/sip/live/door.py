"""The capture service's door: its Unix socket, and the agent behind it.

Laws
- A socket that a killed service left behind is replaced; one that a living service answers at is not.
- Sending never waits: what the socket does not take stays queued.
"""

import socket
import stat
from pathlib import Path
from struct import unpack

from collectors.contract import SourceError
from collectors.sip.live.trouble import trouble
from collectors.sip.live.wire import Messages

RECEIVE_BYTES = 4_096
SEND_BUFFER_BYTES = 4 << 20
SOCKET_MODE = 0o660
"""The agent is let in by its group, which is the service's own."""


class Agent:
    """A connected agent. `user`: whose process it is; `asked`: it has said where to begin."""

    def __init__(self, opened: socket.socket) -> None:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.socket = opened
        self.user = unpack("=3i", opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        self.asked = False
        self._messages = Messages()
        self._out: list[memoryview] = []

    @property
    def waiting(self) -> bool:
        """Whether something is queued that the socket did not take."""
        return bool(self._out)

    def queue(self, data: bytes) -> None:
        self._out.append(memoryview(data))

    def send(self) -> bool:
        """Whether all that was queued went. Raises OSError."""
        while self._out:
            try:
                sent = self.socket.send(self._out[0])
            except BlockingIOError:
                return False
            rest = self._out[0][sent:]
            self._out[:1] = [rest] if rest else []
        return True

    def hear(self) -> list[tuple[int, int, bytes]]:
        """Raises OSError, WireError."""
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError("it closed the connection")
        return list(self._messages.feed(data))


def listen(path: Path) -> socket.socket:
    """The service's socket; one that a service left behind is replaced. Raises SourceError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _remove_abandoned(path)
        listener.bind(str(path))
        path.chmod(SOCKET_MODE)
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise trouble("capture_socket_denied", f"cannot make the socket {path}: {error.strerror or error}") from error
    except SourceError:
        listener.close()
        raise
    return listener


def _remove_abandoned(path: Path) -> None:
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise trouble("capture_socket_taken", f"a capture service answers at {path} already")
