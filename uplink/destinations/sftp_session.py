"""A login at an SFTP server, and what a failure there means.

Laws
- The server shows a key that is known, or nothing is said to it, neither a password nor a file. A person learns new keys.
- Nothing of this machine's own SSH is used: no ~/.ssh, no agent, no configuration.
- The server's every answer is waited for so long, and no longer.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable
from typing import Any, TypeVar

import asyncssh
from msgspec import Struct

from uplink.destinations.folder import Unusable
from uplink.destinations.sftp import SftpSettings
from uplink.line import CredentialsUnreadable, first_line

_T = TypeVar("_T")

asyncssh.set_log_level(logging.ERROR)
asyncssh.set_sftp_log_level(logging.ERROR)
"""It tells each login and each file; what concerns a technician is told as a problem."""

NO_KEYS: tuple[list[Any], ...] = ([], [], [], [], [], [], [])
"""A table of known hosts that knows none. (An empty text would stand for ~/.ssh/known_hosts.)"""

OTHER_KINDS = "+ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256"
"""Kinds of keys that a server may show besides those that are known of it: so that a changed key is seen as one, where the
server would hang up, for there is no kind in common."""


class _Client(asyncssh.SSHClient):
    """Asked for a key that no table of known hosts has. Remembers what it was."""

    def __init__(self, fingerprints: tuple[str, ...]) -> None:
        self._fingerprints = fingerprints
        self.shown = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        fingerprint = key.get_fingerprint("sha256")
        self.shown = f"{key.get_algorithm()} {fingerprint}"
        return fingerprint in self._fingerprints


class Login(Struct, frozen=True):
    """Whom to talk to, and how. Make one with `login_of`."""

    settings: SftpSettings
    options: asyncssh.SSHClientConnectionOptions

    async def enter(self) -> "Session":
        """Raises Unusable."""
        made: list[_Client] = []

        def factory() -> _Client:
            made.append(_Client(self.settings.host_keys))
            return made[-1]

        own = self.settings
        connection: asyncssh.SSHClientConnection | None = None
        try:
            async with asyncio.timeout(own.timeout_s):
                connection = await asyncssh.connect(own.host, own.port, options=self.options, client_factory=factory)
                return Session(connection, await connection.start_sftp_client(), own.timeout_s)
        except asyncssh.HostKeyNotVerifiable as error:
            shown = f"the server shows {made[-1].shown}" if made and made[-1].shown else str(error)
            raise Unusable("host_key", f"{own.host}: {shown}", slow=True) from None
        except (asyncssh.Error, OSError) as error:
            if connection is None:
                raise unusable(error) from None
            lost = connection.is_closed()  # else it is up, and has no SFTP
            connection.close()
            raise unusable(ConnectionResetError(str(error)) if lost else error) from None


def login_of(settings: SftpSettings) -> Login:
    """Raises CredentialsUnreadable where a file that the settings name cannot be used."""
    path = settings.known_hosts
    try:
        known = asyncssh.read_known_hosts(path) if path else NO_KEYS
        path = settings.key_file
        keys = [asyncssh.read_private_key(path)] if path else None
    except OSError as error:
        raise CredentialsUnreadable(f"{path}: {error.strerror}") from None
    except (asyncssh.KeyImportError, ValueError) as error:
        raise CredentialsUnreadable(f"{path}: {error}") from None
    options: dict[str, Any] = {
        "username": settings.user,
        "password": first_line(settings.password_file) if settings.password_file else None,
        "client_keys": keys,
        "known_hosts": known,
        "server_host_key_algs": OTHER_KINDS,
        "login_timeout": 0,
        "utf8_decode_errors": "replace",
        "config": None,
        "agent_path": None,
        "gss_host": None,
        "x509_trusted_certs": None,
    }
    try:
        return Login(settings, asyncssh.SSHClientConnectionOptions(**options))
    except ValueError as error:
        raise CredentialsUnreadable(str(error)) from None


class Session:
    """One connection, logged in."""

    def __init__(self, connection: asyncssh.SSHClientConnection, sftp: asyncssh.SFTPClient, timeout_s: float) -> None:
        self.sftp = sftp
        self._connection = connection
        self._timeout_s = timeout_s

    async def answered(self, work: Awaitable[_T]) -> _T:
        """Raises what asyncssh raises, and OSError; see `unusable`."""
        async with asyncio.timeout(self._timeout_s):
            return await work

    async def room_bytes(self, folder: str) -> int | None:
        """What the disk under `folder` has left for this user; None where the server does not say."""
        with contextlib.suppress(asyncssh.Error, OSError):
            found = await self.answered(self.sftp.statvfs(folder))
            return int(found.bavail * found.frsize)
        return None

    def is_over(self) -> bool:
        return self._connection.is_closed()

    def end(self) -> None:
        self._connection.close()


def unusable(error: BaseException) -> Unusable:
    """What a failure means that is none of the folder's."""
    code, slow = next((code, slow) for kinds, code, slow in _BY_TYPE if isinstance(error, kinds))
    return Unusable(code, str(error) or type(error).__name__, slow=slow)


_BY_TYPE: tuple[tuple[tuple[type[BaseException], ...], str, bool], ...] = (
    ((asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded), "destination_full", True),
    ((asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection), "reset", False),
    ((asyncssh.SFTPError,), "folder_unusable", True),
    ((asyncssh.PermissionDenied,), "unauthorized", True),
    ((asyncssh.ConnectionLost,), "reset", False),
    (
        (asyncssh.KeyExchangeFailed, asyncssh.ProtocolError, asyncssh.ProtocolNotSupported),
        "destination_misconfigured",
        True,
    ),
    ((asyncssh.ChannelOpenError,), "destination_misconfigured", True),
    ((asyncssh.Error,), "reset", False),
    ((socket.gaierror,), "dns", True),
    ((ConnectionRefusedError,), "refused", False),
    ((ConnectionError,), "reset", False),
    ((TimeoutError,), "timeout", False),
    ((OSError,), "unreachable", False),
)
