"""A line that fails: a proxy of bytes between an agent and its platform. Each connection takes the next fault of `faults`, and
without any it is passed on. It knows nothing of HTTP, so that a fault may fall anywhere, within TLS as well.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from msgspec import Struct

HTML = b"<!DOCTYPE html><html><title>Welcome to the hotel</title>Please sign in"


class Fault(Protocol):
    async def play(self, near: "End", far: "Line") -> None:
        """`near` is the agent's connection; `far` opens one to the platform."""


class End(Struct):
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """RST instead of FIN: SO_LINGER of no time (socket(7))."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Line(Struct):
    port: int

    async def open(self) -> End:
        return End(*await asyncio.open_connection("127.0.0.1", self.port))


async def pump(source: End, sink: End, limit: int | None = None, delay_s: float = 0) -> int:
    """Carry bytes until the source ends, or `limit` of them; returns how many."""
    carried = 0
    while limit is None or carried < limit:
        data = await source.reader.read(65536 if limit is None else limit - carried)
        if not data:
            break
        await asyncio.sleep(delay_s)
        await sink.send(data)
        carried += len(data)
    return carried


class Pass(Struct, frozen=True):
    """Nothing is wrong; `delay_s` for each piece of data."""

    delay_s: float = 0

    async def play(self, near: End, far: Line) -> None:
        there = await far.open()
        await _first(pump(near, there, None, self.delay_s), pump(there, near, None, self.delay_s))
        there.writer.close()


class CutRequest(Struct, frozen=True):
    """The platform gets `after` bytes, then both ends see the end of the connection, or a reset."""

    after: int
    reset: bool = False

    async def play(self, near: End, far: Line) -> None:
        there = await far.open()
        await pump(near, there, self.after)
        _end(near, self.reset)
        _end(there, self.reset)


class CutAnswer(Struct, frozen=True):
    """The platform gets the request and answers; the agent gets `after` bytes of it. With 0 the answer is lost."""

    after: int = 0
    reset: bool = False

    async def play(self, near: End, far: Line) -> None:
        there = await far.open()
        up = asyncio.create_task(pump(near, there))
        if self.after:
            await pump(there, near, self.after)
        else:
            await there.reader.read(1)
        up.cancel()
        await asyncio.gather(up, return_exceptions=True)
        _end(near, self.reset)
        _end(there, self.reset)


class Swallow(Struct, frozen=True):
    """Half open: what comes is taken, and nobody answers."""

    async def play(self, near: End, far: Line) -> None:
        while await near.reader.read(65536):
            pass


class Hang(Struct, frozen=True):
    """Connected, and then nothing: not even what comes is taken."""

    async def play(self, near: End, far: Line) -> None:
        await asyncio.sleep(1)


class Say(Struct, frozen=True):
    """Something on the way answers; the platform hears nothing. Without `data` the connection is closed at once."""

    data: bytes = b""

    async def play(self, near: End, far: Line) -> None:
        if self.data:
            await near.reader.readuntil(b"\r\n\r\n")
            await near.send(self.data)


def answer(status: str, body: bytes = b"", *headers: str) -> Say:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return Say("\r\n".join(lines).encode() + body)


class FaultProxy:
    """`url` is where the agent is to go; `expired_url` the same with a certificate that is past its time."""

    def __init__(self, port: int) -> None:
        self.far = Line(port)
        self.faults: list[Fault] = []
        self.played: list[Fault] = []
        self.url = self.expired_url = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.faults.pop(0) if self.faults else Pass()
        self.played.append(fault)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            await fault.play(End(reader, writer), self.far)
        writer.close()


async def _first(*pumps: object) -> None:
    tasks = [asyncio.ensure_future(each) for each in pumps]  # type: ignore[call-overload]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _end(end: End, reset: bool) -> None:
    if reset:
        end.reset()
    else:
        end.writer.close()


class Certificate(Struct, frozen=True):
    """PEM files; `certificate` is also the authority that vouches for it."""

    certificate: str
    key: str

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def certificate(folder: Path, until: datetime) -> Certificate:
    """One for this machine, that vouches for itself until then."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"until {until:%Y}")])
    addresses = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=365))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = Certificate(str(folder / f"{until:%Y}.crt"), str(folder / f"{until:%Y}.key"))
    Path(files.certificate).write_bytes(made.public_bytes(Encoding.PEM))
    Path(files.key).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


@asynccontextmanager
async def fault_proxy(to_url: str, expired: ssl.SSLContext | None = None) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(int(to_url.rpartition(":")[2]))
    server = await asyncio.start_server(proxy.talk, "127.0.0.1", 0)
    proxy.url = f"{to_url.partition(':')[0]}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    late = await asyncio.start_server(proxy.talk, "127.0.0.1", 0, ssl=expired) if expired else None
    if late:
        proxy.expired_url = f"https://localhost:{late.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        for each in (server, *([late] if late else [])):
            each.close()
