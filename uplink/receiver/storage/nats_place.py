"""Where a JetStream is, out of a URL, and a connection to it.

    nats://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/STREAM][?OPTION=VALUE&...]      tls:// for TLS

Laws
- A URL may hold a password; no message does. Files hold them better: `password`, `token`, `creds`, `nkey`.
- A connection that was there comes back by itself for ever, also where the server ended it (credentials that have expired):
  files that were renewed are read then.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import nats
from msgspec import Struct
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from uplink.line import CredentialsUnreadable
from uplink.nats_credentials import FORBIDDEN, LoginClient, is_forbidden, is_refusal, options, why_refused
from uplink.nats_login import NatsLogin
from uplink.receiver.storage import StoreUnavailable, in_words

log = logging.getLogger(__name__)

STREAM = "PEGCOUNT"
FORM = "nats://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/STREAM], what is special in a password as %XX"
CONNECT_S = 10.0
RECONNECT_S = 1
PENDING_BYTES = 64 * 1024 * 1024
"""What may wait for the socket: as many batches as a receiver works on at once, each below 512 kB, twice over."""

OVERTAKEN = (10071, 10164)
"""Error codes: another message stands last in the subject (JSStreamWrongLastSequenceErrF and ...ConstantErr)."""

_STREAM = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")
_FILES = {
    "password": "password_file",
    "token": "token_file",
    "creds": "creds_file",
    "nkey": "nkey_file",
    "ca": "ca_file",
    "cert": "certificate",
    "key": "key_file",
}
"""Options that name files, and what they are of a login."""
_OPTIONS = {"replicas", "max_bytes", *_FILES}
_T = TypeVar("_T")


class NatsPlace(Struct, frozen=True, kw_only=True):
    """`servers` hold a password or token where the URL does. `replicas` and `max_bytes` (-1: no limit) are for a stream that is
    not there yet. `shown` is without passwords."""

    servers: list[str]
    stream: str
    replicas: int
    max_bytes: int
    login: NatsLogin
    shown: str


def parse(url: str) -> NatsPlace:
    """Raises StoreUnavailable for a URL that is none of ours. Of what is no URL at all nothing is repeated."""
    try:
        parts = urlsplit(url)
        ports = [urlsplit(f"//{host}").port for host in parts.netloc.rpartition("@")[2].split(",")]
    except ValueError:
        ports = []
    if not ports or parts.scheme not in ("nats", "tls"):
        raise StoreUnavailable(f"a log is at {FORM}")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    stream = parts.path.strip("/") or STREAM
    login, _, hosts = parts.netloc.rpartition("@")
    unknown = sorted(given.keys() - _OPTIONS)
    try:
        if unknown or not hosts or not _STREAM.match(stream):
            raise ValueError(f"unknown option {unknown[0]}" if unknown else "not HOST/STREAM")
        files = {_FILES[key]: value for key, value in given.items() if key in _FILES}
        if "password_file" in files:
            files["user"], login = unquote(login), ""
        shows = NatsLogin(**files, tls=parts.scheme == "tls")
        shows.check()
        return NatsPlace(
            servers=[f"{parts.scheme}://{f'{login}@' if login else ''}{host}" for host in hosts.split(",")],
            stream=stream,
            replicas=int(given.get("replicas", "1")),
            max_bytes=int(given.get("max_bytes", "-1")),
            login=shows,
            shown=f"{parts.scheme}://{hosts}/{stream}",
        )
    except ValueError as error:
        raise StoreUnavailable(f"{parts.scheme}://{hosts}{parts.path}: {error}") from None


class LastingClient(LoginClient):
    """Comes back also where the server has ended the connection, for which the library would close it for good."""

    def __init__(self, place: NatsPlace) -> None:
        super().__init__(place.login)
        self._place = place
        self._was_there = False
        self._told = ""

    async def enter(self, shown: dict[str, Any]) -> None:
        """Raises what the library does, and StoreUnavailable where a server does not let us in."""
        async with asyncio.timeout(CONNECT_S):
            await self.connect(
                self._place.servers,
                name="pegcount receiver",
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_S,
                pending_size=PENDING_BYTES,
                error_cb=self._on_error,
                disconnected_cb=self._on_loss,
                reconnected_cb=self._on_return,
                **shown,
            )
        self._was_there = True

    async def _process_err(self, err_msg: str) -> None:
        """What the server says before it ends a connection is to us what a broken one is."""
        error = nats.errors.Error(f"nats: {err_msg}")
        await self._on_error(error)
        if not is_forbidden(error):
            await self._process_op_err(error)

    async def _on_error(self, error: Exception) -> None:
        """Where it was never let in, nobody shall wait for what does not mend itself; later, a refusal is told once."""
        log.debug("nats: %s", in_words(error))
        words = refused(error, self._place)
        if words and not self._was_there:
            raise StoreUnavailable(words)
        if words:
            self._tell(words)
        elif is_forbidden(error):
            self._tell(in_words(error), FORBIDDEN)  # it names a subject, and each site has its own

    async def _on_loss(self) -> None:
        if not self.is_closed:
            self._tell("the connection is lost")

    async def _on_return(self) -> None:
        self._tell("the connection is back")

    def _tell(self, words: str, what: str = "") -> None:
        """Each thing once, until there is another."""
        if (what or words) != self._told:
            log.warning("NATS: %s", words)
        self._told = what or words


def refused(error: Exception, place: NatsPlace) -> str:
    """What is to be said of a refusal; nothing where it is none."""
    if not (is_refusal(error) or isinstance(error, ssl.SSLError | nats.errors.SecureConnWantedError)):
        return ""
    return f"{place.shown}: {in_words(error)}{why_refused(place.login)}"


async def connect(place: NatsPlace) -> Client:
    """A connection that comes back by itself for ever, once it was there. Raises StoreUnavailable."""
    try:
        shown = options(place.login)
    except CredentialsUnreadable as error:
        raise StoreUnavailable(f"{place.shown}: {error}") from None
    client = LastingClient(place)
    try:
        await client.enter(shown)
    except StoreUnavailable:
        await client.close()
        raise
    except (nats.errors.Error, OSError, ValueError) as error:
        await client.close()
        cause = client.last_error if isinstance(error, TimeoutError) and client.last_error else error
        raise StoreUnavailable(f"{place.shown}: {in_words(cause)}") from error
    return client


async def answered(work: Awaitable[_T], *passed: type[Exception]) -> _T:
    """What the server answers. Raises StoreUnavailable where it does not, and NotFoundError and those `passed` as they are."""
    try:
        return await work
    except (nats.errors.Error, OSError, TimeoutError) as error:
        if isinstance(error, (NotFoundError, *passed)):
            raise
        raise StoreUnavailable(in_words(error)) from error
