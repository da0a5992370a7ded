"""Run a receiver in this process: the app, its storage, a listening socket.

Law: it listens on loopback unless told otherwise, and elsewhere it wants TLS: a token must not travel in the clear.
"""

import asyncio
import logging
import os
import resource
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address

from aiohttp import web
from msgspec import Struct, structs

from uplink.line import CredentialsUnreadable
from uplink.receiver.app import make_app
from uplink.receiver.fleet.meanings import OF_UPLINK, Meanings
from uplink.receiver.forwarding import Destination
from uplink.receiver.gate import Gate
from uplink.receiver.limits import Limits
from uplink.receiver.proxies import LOOPBACK, Proxies
from uplink.receiver.speaking import speaking
from uplink.receiver.storage import Storage
from uplink.receiver.storage.opening import is_log, open_storage
from uplink.receiver.tokens import Tokens
from uplink.uploader import wall_clock_ms

log = logging.getLogger(__name__)

SHUTDOWN_S = 5.0
"""How long requests in flight may take to end."""
BACKLOG = 1024
"""Connections that the kernel holds until they are taken in: a fleet that comes back together."""
ACCEPTED_AT_ONCE = 64
"""Taken in by asyncio before those that are too many are let out again: so many files more are open for a moment."""
FILES_BESIDES = 256
"""These, the store, sockets of forwarders, the log."""


class ReceiverSettings(Struct, frozen=True, kw_only=True):
    """`port` 0 takes any free one. `database` and `books` are files or URLs, as `open_storage` takes them. `proxies`:
    addresses and networks of those in front of it, at which TLS ends, and which say who asks. `client_ca`: authorities (PEM)
    of the certificates that agents may show. `public_url`: where agents reach it, if that is not the address that it is asked
    by. `forwards`: where the events of all sites go on to."""

    database: str
    books: str = ""
    tokens: Tokens
    host: str = "127.0.0.1"
    port: int = 8470
    certificate: str = ""
    key: str = ""
    proxies: tuple[str, ...] = ()
    client_ca: str = ""
    public_url: str = ""
    limits: Limits = Limits()
    forwards: tuple[Destination, ...] = ()
    meanings: Meanings = OF_UPLINK

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key go together")
        if not (_is_loopback(self.host) or self.certificate or set(self.proxies) - set(LOOPBACK)):
            raise ValueError(
                f"{self.host} is not this machine: give a certificate and its key, or the proxy in front of it"
            )
        Proxies(self.proxies)
        if self.client_ca and not self.certificate:
            raise ValueError("client certificates are shown in TLS: client_ca needs certificate and key")
        if self.forwards and is_log(self.database) and not self.books:
            raise ValueError("what goes on is read where a log is booked: forward needs books")

    def tls(self) -> ssl.SSLContext | None:
        """Raises OSError where certificate or key cannot be read, ValueError where they are none, or not of each other."""
        if not self.certificate:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
        except ssl.SSLError as error:
            raise ValueError(
                f"{self.certificate} and {self.key} are no certificate and its key in PEM: {error}"
            ) from None
        if self.client_ca:
            self._ask_for_certificates(context)
        return context

    def _ask_for_certificates(self, context: ssl.SSLContext) -> None:
        """They are asked for and not required: other agents have tokens or keys."""
        try:
            context.load_verify_locations(self.client_ca)
        except ssl.SSLError as error:
            raise ValueError(f"{self.client_ca} holds no certificates in PEM: {error}") from None
        context.verify_mode = ssl.CERT_OPTIONAL


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RunningReceiver:
    """A receiver that listens. `url` is its address."""

    def __init__(
        self,
        settings: ReceiverSettings,
        runner: web.AppRunner,
        listener: asyncio.Server,
        gate: Gate,
        store: Storage,
        url: str,
    ) -> None:
        self.url = url
        self._settings = settings
        self.store = store
        self._gate = gate
        self._runner = runner
        self._listener = listener

    def renew(self) -> None:
        """Connections that come from now on are shown the certificate as its files are now; where those cannot be used, the one
        before."""
        try:
            self._gate.tls = self._settings.tls()
        except (OSError, ValueError) as error:
            log.error("the certificate is not taken up, the one before is shown: %s", error)
        else:
            log.info("certificates are read anew")

    async def close(self) -> None:
        """Requests in flight are answered first; then the store is closed."""
        self._listener.close()
        await self._runner.cleanup()
        self._gate.close()
        await self.store.close()


async def serve(settings: ReceiverSettings) -> RunningReceiver:
    """Raises StoreUnavailable for the database, OSError for the address, CredentialsUnreadable for a destination, and
    what `ReceiverSettings.tls` raises."""
    tls = settings.tls()
    store = await open_storage(settings.database, settings.books, alone=True)
    secure = tls is not None or bool(settings.proxies)
    gate = Gate(_with_files(settings.limits), Proxies(settings.proxies), tls)
    try:
        app = make_app(
            store,
            settings.tokens,
            wall_clock_ms,
            gate,
            settings.public_url,
            secure,
            settings.forwards,
            settings.meanings,
        )
    except CredentialsUnreadable:
        await store.close()
        raise
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    make = speaking(runner)
    try:
        listener = await _listen(settings, lambda: gate.guest(make))
    except OSError:
        await runner.cleanup()
        await store.close()
        raise
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    port = listener.sockets[0].getsockname()[1]
    return RunningReceiver(settings, runner, listener, gate, store, f"{'https' if tls else 'http'}://{host}:{port}")


async def _listen(settings: ReceiverSettings, make: Callable[[], asyncio.Protocol]) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(make, settings.host, settings.port, backlog=ACCEPTED_AT_ONCE)
    for each in listener.sockets:
        with socket.socket(fileno=os.dup(each.fileno())) as listening:
            listening.listen(BACKLOG)
    return listener


def _with_files(limits: Limits) -> Limits:
    """With no more connections than there may be open files, which each of them is. Services begin with 1,024 of these."""
    wanted = limits.connections_max + FILES_BESIDES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    most = wanted if hard == resource.RLIM_INFINITY else max(soft, min(wanted, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most == wanted:
        return limits
    fewer = max(1, most - FILES_BESIDES)
    log.warning("%d connections instead of %d: this process may open %d files", fewer, limits.connections_max, most)
    return structs.replace(limits, connections_max=fewer)
