"""What a source listens on: `127.0.0.1:9060` or `udp://...` for datagrams, `tcp://...`, `tls://...`.

Laws
- What cannot be listened on raises SourceUnavailable (try again) or SourceMisconfigured (mend the configuration), with a hint.
- A port beyond loopback is an open door: whoever can reach it can invent calls. `refuse_open_door` wants a lock on it.
"""

import socket
import ssl
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from collectors.contract import SourceMisconfigured, SourceUnavailable
from collectors.io.datagrams import bind, is_loopback, parse_listen

Transport = Literal["udp", "tcp", "tls"]
TRANSPORTS: tuple[Transport, ...] = ("udp", "tcp", "tls")
LISTEN_BACKLOG = 128


class Listener(Struct, frozen=True):
    transport: Transport
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host} port {self.port}/{self.transport}"


class Tls(Struct, frozen=True):
    """Paths of PEM files: our certificate (with its chain), its key, and whose client certificates are asked for."""

    certificate: str = ""
    key: str = ""
    client_ca: str = ""


def listeners(listen: str | Iterable[str]) -> tuple[Listener, ...]:
    """Raises SourceMisconfigured where one is no address."""
    return tuple(_listener(one) for one in ([listen] if isinstance(listen, str) else listen))


def _listener(text: str) -> Listener:
    scheme, slashes, address = text.partition("://")
    if not slashes:
        scheme, address = "udp", text
    for transport in TRANSPORTS:
        if scheme == transport:
            return Listener(transport, *parse_listen(address))
    raise SourceMisconfigured(
        f"listen = {text!r}: {scheme} is none of {', '.join(TRANSPORTS)}", "write it as tcp://127.0.0.1:9060"
    )


def needs_lock(listener: Listener) -> bool:
    return not is_loopback(listener.host)


def open_listener(listener: Listener) -> socket.socket:
    """A socket that takes connections. Raises SourceUnavailable and SourceMisconfigured."""
    opened = bind(listener.host, listener.port, socket.SOCK_STREAM)
    opened.setblocking(False)
    opened.listen(LISTEN_BACKLOG)
    return opened


def tls_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 and later. Raises SourceMisconfigured where a file is no certificate or key, SourceUnavailable where it cannot be
    read."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key or None)
        if tls.client_ca:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError as error:
        raise SourceMisconfigured(
            f"the TLS files cannot be used: {error.reason or error}",
            "tls_certificate, tls_key and tls_client_ca are PEM files, the key one without a password",
        ) from error
    except OSError as error:
        raise SourceUnavailable(
            f"a TLS file cannot be read: {error.strerror}", "check tls_certificate, tls_key and tls_client_ca"
        ) from error
    return context
