"""A call over TLS as a capture and its key log: two ends of Python's own ssl, whose records lie in TCP segments."""

import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

from collectors.sip.packets import SipPacket
from tests.collectors.sip.flows import ethernet, ip, pcap, tcp

HANDSHAKE_US = 1_000
"""How long before the first message the connection is opened."""


def certificate(folder: Path) -> tuple[Path, Path]:
    """Made with openssl: certificate and key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=pbx.office.example", "-keyout", key, "-out", cert),
        ),
        check=True,
        capture_output=True,
    )
    return cert, key


class Secured:
    """One TLS connection between two addresses; `frames` is what a capture of it holds."""

    def __init__(self, folder: Path, client: str, server: str, version: ssl.TLSVersion, at_us: int) -> None:
        self.keylog = folder / "keys.log"
        self.frames: list[tuple[int, bytes]] = []
        self._ends = {client: server, server: client}
        self._sequences = dict.fromkeys(self._ends, 1000)
        mine = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        mine.check_hostname, mine.verify_mode = False, ssl.CERT_NONE
        mine.minimum_version = mine.maximum_version = version
        mine.keylog_filename = str(self.keylog)
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs.load_cert_chain(*certificate(folder))
        self._incoming = {end: ssl.MemoryBIO() for end in self._ends}
        self._outgoing = {end: ssl.MemoryBIO() for end in self._ends}
        self._sessions = {
            client: mine.wrap_bio(self._incoming[client], self._outgoing[client]),
            server: theirs.wrap_bio(self._incoming[server], self._outgoing[server], server_side=True),
        }
        for flags, end in ((2, client), (0x12, server)):
            self._segment(at_us, end, b"", flags)
            self._sequences[end] += 1
        waiting = {client, server}
        while waiting:
            for end in (client, server):
                try:
                    self._sessions[end].do_handshake()
                    waiting.discard(end)
                except ssl.SSLWantReadError:
                    pass
                self._flush(at_us, end)

    def send(self, at_us: int, src: str, data: bytes) -> None:
        """One write of the application: one record, in one segment."""
        self._sessions[src].write(data)
        self._flush(at_us, src)
        heard = self._sessions[self._ends[src]].read(len(data))
        assert heard == data

    def _flush(self, at_us: int, src: str) -> None:
        data = self._outgoing[src].read()
        if data:
            self._segment(at_us, src, data, 0x18)
            self._incoming[self._ends[src]].write(data)

    def _segment(self, at_us: int, src: str, data: bytes, flags: int) -> None:
        dst = self._ends[src]
        self.frames.append((at_us, ethernet(ip(src, dst, 6, tcp(src, dst, self._sequences[src], data, flags)))))
        self._sequences[src] += len(data)


def capture_of(folder: Path, packets: Sequence[SipPacket], version: ssl.TLSVersion) -> tuple[Path, Path]:
    """These messages as a capture of one TLS connection, and its key log. The first message comes in two records."""
    first = packets[0]
    secured = Secured(folder, first.src, first.dst, version, first.at_us - HANDSHAKE_US)
    secured.send(first.at_us, first.src, first.payload[:100])
    secured.send(first.at_us, first.src, first.payload[100:])
    for packet in packets[1:]:
        secured.send(packet.at_us, packet.src, packet.payload)
    path = folder / "tls.pcap"
    path.write_bytes(pcap(secured.frames))
    return path, secured.keylog
