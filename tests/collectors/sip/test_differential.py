"""A second opinion: our own decoder and tshark, by the pyshark engine, over the same captures.

They must give the same messages, octet for octet, with the same times and ends, and so the same calls. Where they do not, the
difference stands in differences.toml with its explanation: an unlisted one fails, and so does a listed one that is gone.
"""

import shutil
import struct
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from collectors.net.frames import CaptureError
from collectors.sip.capture import CaptureReader
from collectors.sip.message import Malformed, parse
from collectors.sip.packets import SipPacket, looks_like_sip
from collectors.sip.read import Reader
from collectors.sip.wireshark.reader import TsharkReader
from tests.collectors.net.wrap import LINKS, TRANSPORTS, TUNNELS, every, fragments, over_udp
from tests.collectors.sip.flows import PBX, Exchange, ethernet, in_order, pcap, phone, register, track

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "samples" / "sip"
LISTED: dict[str, dict[str, object]] = tomllib.loads(Path(__file__).with_name("differences.toml").read_text("utf-8"))
pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark (Debian: tshark)")


def call(transport: str = "udp", six: bool = False) -> list[SipPacket]:
    ends = ("[2001:db8::1]:5060", "[2001:db8::2]:5060") if six else (phone(101), PBX)
    calls = in_order(
        *(Exchange(f"a{n}", *ends, "101", "102", transport=transport).talk(n, n + 5, n + 65) for n in (0, 9))
    )
    return calls if transport != "udp" or six else in_order(calls, register(3, "101"))


DECODE_AS = {"VXLAN on Linux's old port, IPv6": ("udp.port==8472,vxlan",)}
"""What tshark has to be told, as the key `decode_as` does."""


def of_links() -> Iterator[tuple[str, bytes]]:
    for name, (number, wrapped) in LINKS.items():
        frames = [(at_us, wrapped(packet)) for at_us, packet in over_udp(call())]
        yield name, pcap(map(with_own_time, frames) if number == ERF else frames, number)


ERF = 197


def with_own_time(frame: tuple[int, bytes]) -> tuple[int, bytes]:
    """An ERF record has a time of its own, seconds in 32.32 bits, which is the one that tshark takes."""
    at_us, record = frame
    return at_us, struct.pack("<Q", (at_us << 32) // 1_000_000 + 1) + record[8:]


def of_tunnels() -> Iterator[tuple[str, bytes]]:
    for name, wrapped in TUNNELS.items():
        packets = [(at_us, wrapped(packet)) for at_us, packet in over_udp(call())]
        yield name, pcap([(at_us, ethernet(piece)) for at_us, one in packets for piece in fragments(one, every(576))])


def of_transports() -> Iterator[tuple[str, bytes]]:
    for name, carried in TRANSPORTS.items():
        for six in (False, True):
            packets = list(carried(call(name, six)))
            yield (
                f"{name} over {'IPv6' if six else 'IPv4'}",
                pcap(
                    [(at_us, ethernet(piece)) for at_us, packet in packets for piece in fragments(packet, every(576))]
                ),
            )


OWN = {**dict(of_links()), **dict(of_tunnels()), **dict(of_transports())}


def read(reader: Reader) -> list[SipPacket]:
    """What a reading gives before the file ends or breaks off, less what no message is."""
    packets = []
    try:
        for packet in reader:
            packets.append(packet)
    except CaptureError:
        pass
    return [packet for packet in packets if looks_like_sip(packet.payload)]


def told(packet: SipPacket) -> str:
    """One message in a line: when, from where to where, by what, what."""
    try:
        message = parse(packet.payload)
        kind = message.method.decode() or message.status
        what = f"{kind} {message.call_id.decode('utf-8', 'replace')} {message.cseq.decode()}"
    except Malformed as fault:
        what = f"{fault.reason} {packet.payload[:24]!r}"
    return f"{packet.at_us} {packet.transport} {packet.src} {packet.dst} {len(packet.payload)} {what}"


def difference(path: Path, decode_as: tuple[str, ...] = ()) -> dict[str, object]:
    with path.open("rb") as file:
        ours = read(CaptureReader(file))
    with path.open("rb", buffering=0) as file:
        theirs = read(TsharkReader(file, decode_as))
    found: dict[str, object] = {}
    for name, one, other in (("only_ours", ours, theirs), ("only_tshark", theirs, ours)):
        if more := Counter(map(identity, one)) - Counter(map(identity, other)):
            found[name] = sorted(told(SipPacket(*packet)) for packet in more.elements())
    for name, one, other in (("calls_only_ours", ours, theirs), ("calls_only_tshark", theirs, ours)):
        if more := Counter(legs(one)) - Counter(legs(other)):
            found[name] = sorted(more.elements())
    return found


def identity(packet: SipPacket) -> tuple[int, str, str, str, bytes]:
    return packet.at_us, packet.transport, packet.src, packet.dst, packet.payload


def legs(packets: Iterable[SipPacket]) -> list[str]:
    """Calls as they are handed in, each leg in a line."""
    return [
        f"{leg.call_id} {leg.started_at_ms} {leg.answered_at_ms} {leg.ended_at_ms} {leg.status}"
        for leg in track(packets, end=None).legs
    ]


def compare(name: str, path: Path) -> None:
    listed = dict(LISTED.get(name, {}))
    assert bool(listed) == bool(listed.pop("because", "")), f"{name} is listed without an explanation"
    assert difference(path, DECODE_AS.get(name, ())) == listed


@pytest.mark.parametrize("name", OWN)
def test_our_decoder_and_tshark_read_the_same_in_captures_of_our_own(name: str, tmp_path: Path) -> None:
    path = tmp_path / "own.pcap"
    path.write_bytes(OWN[name])
    compare(name, path)


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample corpus is not beside the checkout")
@pytest.mark.parametrize(
    "path", sorted(SAMPLES.rglob("*.pcap*")) if SAMPLES.is_dir() else [], ids=lambda path: path.name
)
def test_our_decoder_and_tshark_read_the_same_in_public_captures(path: Path) -> None:
    compare(path.name, path)
