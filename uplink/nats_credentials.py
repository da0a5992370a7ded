"""A login at a NATS server, out of the files that the settings name. Needs the extra `nats`.

Laws
- Whatever a file holds is checked before a connection is made: the client would read a credentials file without credentials
  for ever.
- A credentials file is read again at each connection: one that was renewed needs no restart.
- Where TLS is asked for, nothing is shown on a line without it: the library would follow whoever says that none is needed.
- The message of an error names files and times, never what is in them.
"""

import asyncio
import base64
import logging
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import nkeys
from msgspec import Struct
from nats.aio.client import Client

from uplink.events import instant
from uplink.line import CredentialsUnreadable, first_line, tls_context
from uplink.nats_login import NatsLogin

log = logging.getLogger(__name__)

_JWT = re.compile(r"-----BEGIN NATS USER JWT-----\s+([\w-]+\.([\w-]+)\.[\w-]+)\s+-+END")
_SEED = re.compile(r"-----BEGIN USER NKEY SEED-----\s+(SU[A-Z2-7]+)\s+-+END")
CLOSE_S = 1.0
"""The library waits for ever for the end of a connection whose TLS has failed."""
REFUSED = ("authorization", "authentication")
"""In what the server says to one that it does not let in (nats-server, server/errors.go)."""
FORBIDDEN = "permissions violation"
"""Whoever may not publish to a subject gets no answer, and the connection this word."""


def options(login: NatsLogin) -> dict[str, Any]:
    """For `nats.aio.client.Client.connect`. Raises CredentialsUnreadable."""
    found: dict[str, Any] = {}
    if login.user:
        found |= {"user": login.user, "password": first_line(login.password_file)}
    if login.token_file:
        found["token"] = first_line(login.token_file)
    if login.nkey_file:
        _key_pair(login.nkey_file, first_line(login.nkey_file))
        found["nkeys_seed"] = login.nkey_file
    if login.creds_file:
        found |= _shown_anew(login.creds_file)
    if _wants_tls(login):
        found["tls"] = tls_context(login.ca_file, login.certificate, login.key_file)
    return found


def _wants_tls(login: NatsLogin) -> bool:
    return bool(login.tls or login.ca_file or login.certificate)


class LoginClient(Client):
    """Connects as `login` asks for; `connect` wants `options(login)` besides."""

    def __init__(self, login: NatsLogin) -> None:
        super().__init__()
        self._wants_tls = _wants_tls(login)

    def _connect_command(self) -> bytes:
        """What is said first, and holds the password."""
        if self._wants_tls and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        try:
            return super()._connect_command()
        except (nkeys.NkeysError, ValueError) as error:
            # Of errors that are not its own the library makes no failed attempt: it would never try again.
            raise nats.errors.Error(f"authentication: {error}") from None

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await super().close()
        except (nats.errors.Error, OSError) as error:
            log.debug("closing: %s", error)


def why_refused(login: NatsLogin) -> str:
    """What this side knows of a refusal, to stand behind the server's word for it, which never says that something expired."""
    try:
        until_s = Credentials.read(login.creds_file).until_s if login.creds_file else 0
    except CredentialsUnreadable as error:
        return f" ({error})"
    if not until_s or until_s > time.time():
        return ""
    return f" ({login.creds_file} was good until {instant(until_s * 1000)[:19]}Z)"


def is_refusal(error: BaseException) -> bool:
    """Whether a server does not let us in, as far as its words tell."""
    words = str(error).lower()
    kinds = (nats.errors.AuthorizationError, nats.errors.InvalidUserCredentialsError)
    return isinstance(error, kinds) or (isinstance(error, nats.errors.Error) and any(one in words for one in REFUSED))


def is_forbidden(error: BaseException) -> bool:
    """Whether the server let us in, and does not let us do what we asked for."""
    return FORBIDDEN in str(error).lower()


def _shown_anew(path: str) -> dict[str, Any]:
    """The client's two questions, answered out of the file as it is then."""

    def read() -> Credentials:
        try:
            return Credentials.read(path)
        except CredentialsUnreadable as error:
            raise nats.errors.Error(f"authentication: {error}") from None

    Credentials.read(path)
    return {
        "user_jwt_cb": lambda: read().jwt.encode(),
        "signature_cb": lambda nonce: base64.b64encode(read().key_pair.sign(nonce.encode())),
    }


class Credentials(Struct, frozen=True):
    """What a credentials file holds. `until_s`: when it expires, by the clock of whoever made it; 0 for never."""

    jwt: str
    key_pair: Any
    until_s: int

    @classmethod
    def read(cls, path: str) -> "Credentials":
        """Raises CredentialsUnreadable."""
        try:
            text = Path(path).read_text("ascii")
        except OSError as error:
            raise CredentialsUnreadable(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise CredentialsUnreadable(f"{path}: this is no credentials file") from None
        jwt, seed = _JWT.search(text), _SEED.search(text)
        if not jwt or not seed:
            raise CredentialsUnreadable(f"{path}: this is no credentials file")
        return cls(jwt[1], _key_pair(path, seed[1]), _expiry(path, jwt[2]))


class _Claims(Struct):
    exp: int = 0


def _expiry(path: str, claims: str) -> int:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)), type=_Claims).exp
    except (ValueError, msgspec.DecodeError):
        raise CredentialsUnreadable(f"{path}: the JWT in it cannot be read") from None


def _key_pair(path: str, seed: str) -> Any:
    try:
        return nkeys.from_seed(seed.encode())
    except (nkeys.NkeysError, ValueError):
        raise CredentialsUnreadable(f"{path}: this is no seed of an nkey") from None
