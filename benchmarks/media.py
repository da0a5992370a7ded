"""RTP of 200 calls at a time, a minute of it, from a capture file to what each call carried: what a packet costs.

Beside us, on the same file: ourselves with media off, which tells what the packets cost anyway, and `tshark -z rtp,streams`.
A network delivers these packets in a minute, so that CPU time by sixty is the share of a core that counting them live takes
(without the capture itself).
"""

import json
import shutil
import struct
from pathlib import Path

from benchmarks.measure import Run, medians, python
from benchmarks.report import Mismatch, Settings, Table

CALLS, SECONDS, RATE = 200, 60, 50
"""A packet each 20 ms, both ways: 20,000 packets a second."""

OURS = """
import json, sys
from pathlib import Path
from collectors.records import Leg
from collectors.sip.kind import KIND, SipConfig
flows = packets = octets = lost = scored = 0
for batch in KIND.read(Path(sys.argv[1]), SipConfig(media=sys.argv[2])):
    for record in batch.records:
        if isinstance(record, Leg):
            for flow in KIND.join([record]).media:
                flows += 1
                packets, octets, lost = packets + flow.packets, octets + flow.octets, lost + flow.lost
                scored += flow.mos == 441
print(json.dumps(dict(flows=flows, packets=packets, octets=octets, lost=lost, scored=scored)))
"""

_ETHERNET = bytes.fromhex("020000000002020000000001") + b"\x08\x00"
_START_S = 1_767_603_600
_PAYLOAD = bytes(160)


def _record(at_us: int, src: tuple[bytes, int], dst: tuple[bytes, int], payload: bytes) -> bytes:
    size = 28 + len(payload)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, size, 0, 0x4000, 64, 17, 0, src[0], dst[0])
    udp = struct.pack(">HHHH", src[1], dst[1], 8 + len(payload), 0)
    seconds, fraction = divmod(at_us, 1_000_000)
    head = struct.pack("<IIII", _START_S + seconds, fraction, 14 + size, 14 + size)
    return head + _ETHERNET + ip + udp + payload


class _Call:
    """One call between a phone and the phone system, each with a port of its own for media."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.phone, self.system = bytes((10, 1, number >> 8, number & 255)), bytes((10, 0, 0, 10))
        self.port = 12_000 + 2 * number

    def _message(self, at_us: int, start: str, cseq: str, by_phone: bool, port: int = 0) -> bytes:
        address = ".".join(str(octet) for octet in (self.phone if by_phone else self.system))
        body = f"v=0\r\nc=IN IP4 {address}\r\nm=audio {port} RTP/AVP 0\r\n" if port else ""
        tag = "" if start.startswith("INVITE") else ";tag=t"
        text = (
            f"{start}\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK{self.number}\r\nFrom: <sip:{self.number}@a>;tag=f\r\n"
            f"To: <sip:200@a>{tag}\r\nCall-ID: {self.number}@a\r\nCSeq: {cseq}\r\nContact: <sip:a@a>\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        ends = (self.phone, 5060), (self.system, 5060)
        return _record(at_us, *(ends if by_phone else ends[::-1]), text.encode())

    def begin(self, at_us: int) -> bytes:
        return (
            self._message(at_us, "INVITE sip:200@a SIP/2.0", "1 INVITE", True, self.port)
            + self._message(at_us + 10, "SIP/2.0 200 OK", "1 INVITE", False, self.port)
            + self._message(at_us + 20, "ACK sip:200@a SIP/2.0", "1 ACK", True)
        )

    def end(self, at_us: int) -> bytes:
        return self._message(at_us, "BYE sip:200@a SIP/2.0", "2 BYE", True) + self._message(
            at_us + 10, "SIP/2.0 200 OK", "2 BYE", False
        )

    def speak(self, at_us: int, step: int) -> bytes:
        rtp = struct.pack(">BBHII", 0x80, 0, step & 0xFFFF, 160 * step, self.number) + _PAYLOAD
        ends = (self.phone, self.port), (self.system, self.port)
        return _record(at_us, *ends, rtp) + _record(at_us + 5, *ends[::-1], rtp)


def generate(path: Path, calls: int, seconds: int) -> int:
    """How many packets of RTP there are in the file."""
    parties = [_Call(number) for number in range(calls)]
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))
        file.writelines(call.begin(100 * call.number) for call in parties)
        for step in range(seconds * RATE):
            at_us = 1_000_000 + 20_000 * step
            file.writelines(call.speak(at_us + 90 * call.number, step) for call in parties)
        file.writelines(call.end((seconds + 2) * 1_000_000 + 100 * call.number) for call in parties)
    return 2 * calls * seconds * RATE


def ours(path: Path, media: str = "rtp") -> list[str]:
    return [python(), "-c", OURS, str(path), media]


def check(found: dict[str, int], calls: int, packets: int) -> None:
    wanted = {"flows": 2 * calls, "packets": packets, "octets": 160 * packets, "lost": 0, "scored": 2 * calls}
    if found != wanted:
        raise Mismatch(f"found {found}, generated were {wanted}")


def run(settings: Settings) -> Table:
    """Raises Mismatch where packets, octets, losses or scores are not those that were generated."""
    path = settings.folder / "media.pcap"
    seconds = max(2, round(SECONDS * settings.scale))
    packets = generate(path, CALLS, seconds)
    names = ["pegcount, media = rtp", "pegcount, media = off"]
    commands = [ours(path), ours(path, "off")]
    if tshark := shutil.which("tshark"):
        names.append("tshark -q -z rtp,streams")
        commands.append([tshark, "-r", str(path), "-q", "-z", "rtp,streams"])
    done = medians(commands, settings.runs)
    check(json.loads(done[0].output), CALLS, packets)
    return Table(
        name="media",
        title=f"RTP of {CALLS} calls at a time",
        columns=("tool", "wall s", "packets/s", "us CPU a packet", "share of a core", "peak RSS MB"),
        rows=[_row(name, one, packets, seconds) for name, one in zip(names, done, strict=True)],
        notes=(
            f"{packets:,} packets of RTP in {seconds} s of {CALLS} calls (G.711, 20 ms, both ways), from a capture file of "
            f"{path.stat().st_size / 1e6:,.0f} MB in the page cache. Whole processes, median wall time of {settings.runs}.",
            "Share of a core: CPU time by the time that the traffic takes.",
            "Packets, octets, losses and MOS of each call were those that were generated.",
        ),
    )


def _row(name: str, done: Run, packets: int, seconds: int) -> tuple[str, ...]:
    each_us, share = done.cpu_s / packets * 1e6, done.cpu_s / seconds
    rate = f"{packets / done.wall_s:,.0f}"
    return name, f"{done.wall_s:.2f}", rate, f"{each_us:.2f}", f"{share:.1%}", f"{done.rss_bytes / 1e6:.0f}"
