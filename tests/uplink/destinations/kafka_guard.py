"""Doors before the brokers of librdkafka's mock cluster, which has none of its own: TLS, then SASL, then the cluster itself.

Each broker has a door. What the cluster says of where its brokers are is changed to where their doors are. Forms: Kafka's
protocol guide (ApiVersions 0, SaslHandshake 1, SaslAuthenticate 0), RFC 4616 (PLAIN), RFC 5802 and 7677 (SCRAM).
"""

import asyncio
import base64
import hashlib
import hmac
import os
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

USER, PASSWORD = "meter", "open sesame"
API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_VERSION, SASL_FAILED, UNSUPPORTED_MECHANISM = 35, 58, 33
ROUNDS = 4096


class Doors:
    def __init__(self, brokers: str, trust: ssl.SSLContext | None, mechanism: str = "") -> None:
        self._ports = [int(broker.rpartition(":")[2]) for broker in brokers.split(",")]
        self._moved: dict[bytes, bytes] = {}
        self._trust = trust
        self._mechanism = mechanism
        self.heard = b""
        """All that a client showed of itself."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Where the doors are."""
        servers = [
            await asyncio.start_server(self._door(port), "127.0.0.1", 0, ssl=self._trust) for port in self._ports
        ]
        doors = [server.sockets[0].getsockname()[1] for server in servers]
        self._moved = {_address(port): _address(door) for port, door in zip(self._ports, doors, strict=True)}
        try:
            yield ",".join(f"127.0.0.1:{door}" for door in doors)
        finally:
            for server in servers:
                server.close()

    def _door(self, port: int):  # type: ignore[no-untyped-def]
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.IncompleteReadError):
                if not self._mechanism or await self._let_in(reader, writer):
                    await self._pass_on(port, reader, writer)
            writer.close()

        return serve

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        scram = _Scram(self._mechanism)
        while True:
            api, version, correlation, body = await _request(reader)
            if api == API_VERSIONS:
                fault = UNSUPPORTED_VERSION if version else 0
                known = [(API_VERSIONS, 0, 0), (SASL_HANDSHAKE, 0, 1), (SASL_AUTHENTICATE, 0, 0), (3, 0, 2), (0, 0, 7)]
                known += [(22, 0, 1)]  # InitProducerId
                answer = struct.pack(">hi", fault, len(known)) + b"".join(struct.pack(">hhh", *one) for one in known)
            elif api == SASL_HANDSHAKE:
                asked = body[2:].decode()
                fault = 0 if asked == self._mechanism else UNSUPPORTED_MECHANISM
                answer = struct.pack(">hi", fault, 1) + _text(self._mechanism)
            else:
                self.heard += body[4:]
                said, done = self._judge(scram, body[4:])
                fault = SASL_FAILED if said is None else 0
                answer = struct.pack(">hhi", fault, -1, len(said or b"")) + (said or b"")
            writer.write(struct.pack(">ii", len(answer) + 4, correlation) + answer)
            await writer.drain()
            if api == SASL_AUTHENTICATE and (fault or done):
                return not fault

    def _judge(self, scram: "_Scram", said: bytes) -> tuple[bytes | None, bool]:
        """What is answered, None for a refusal, and whether that was all."""
        if self._mechanism == "PLAIN":
            return (b"" if said == f"\0{USER}\0{PASSWORD}".encode() else None), True
        return (scram.first(said.decode()), False) if scram.nonce == "" else (scram.final(said.decode()), True)

    async def _pass_on(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)

        async def up() -> None:
            while data := await reader.read(65536):
                outer.write(data)
                await outer.drain()

        async def down() -> None:
            while size := await inner.readexactly(4):
                answer = await inner.readexactly(int.from_bytes(size))
                for address, door in self._moved.items():
                    answer = answer.replace(address, door)
                writer.write(size + answer)
                await writer.drain()

        tasks = [asyncio.create_task(up()), asyncio.create_task(down())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        outer.close()


class _Scram:
    """The server's side."""

    def __init__(self, mechanism: str) -> None:
        self._digest = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
        self.nonce = self._client_first = self._server_first = ""
        self._salt = os.urandom(16)

    def first(self, said: str) -> bytes | None:
        self._client_first = said.removeprefix("n,,")
        parts = dict(part.split("=", 1) for part in self._client_first.split(","))
        self.nonce = parts["r"] + os.urandom(9).hex()
        self._server_first = f"r={self.nonce},s={base64.b64encode(self._salt).decode()},i={ROUNDS}"
        return self._server_first.encode() if parts["n"] == USER else None

    def final(self, said: str) -> bytes | None:
        without_proof, _, proof = said.partition(",p=")
        exchange = f"{self._client_first},{self._server_first},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac(self._digest, PASSWORD.encode(), self._salt, ROUNDS)
        client_key = self._hmac(salted, b"Client Key")
        signature = self._hmac(hashlib.new(self._digest, client_key).digest(), exchange)
        if base64.b64decode(proof) != bytes(a ^ b for a, b in zip(client_key, signature, strict=True)):
            return None
        return b"v=" + base64.b64encode(self._hmac(self._hmac(salted, b"Server Key"), exchange))

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._digest)


async def _request(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    """Its kind and version, its number, and its body, behind the client's name."""
    whole = await reader.readexactly(int.from_bytes(await reader.readexactly(4)))
    api, version, correlation, name = struct.unpack(">hhih", whole[:10])
    return api, version, correlation, whole[10 + max(0, name) :]


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _address(port: int) -> bytes:
    """As it stands in what the cluster says of its brokers, whatever the version: behind the length of the host's name."""
    return b"127.0.0.1" + struct.pack(">i", port)
