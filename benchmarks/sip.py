"""SIP from a capture file to finished calls, beside what else reads such files.

Every contender is a whole process, from start to exit, on the same file, with its output in a file. Ours does the most work:
it follows dialogs and registrations and joins legs to calls. `tshark -q -z sip,stat` counts messages, sngrep and sipgrep
follow dialogs (sipgrep prints every message as it goes, it has no other way), pyshark hands each message's Call-ID to a
Python loop, and the bare loop is what Python can do at most. pyshark gets the first packets only, since it takes minutes for
them all. What a contender says that it saw is checked: one that left something out was not measured on the same work.
"""

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from benchmarks.measure import Failed, Run, medians, python
from benchmarks.report import Mismatch, Settings, Table
from benchmarks.sip_traffic import Expected, generate

PACKETS = 200_000
SLICE_PACKETS = 5_000
"""For pyshark, which does about 1,000 packets a second."""

OURS = """
import json, sys
from pathlib import Path
from collectors.records import Leg, Registration
from collectors.sip.kind import KIND
calls = answered = talk_ms = rejects = 0
registered = set()
for batch in KIND.read(Path(sys.argv[1]), KIND.config()):
    rejects += len(batch.rejects)
    legs = {}
    for record in batch.records:
        if isinstance(record, Leg):
            legs.setdefault(record.call_key, []).append(record)
        elif isinstance(record, Registration):
            registered.add(record.endpoint)
    for found in legs.values():
        call = KIND.join(found)
        calls += 1
        answered += call.outcome == "answered"
        talk_ms += call.talk_ms
print(json.dumps(dict(calls=calls, answered=answered, talk_ms=talk_ms, registered=len(registered), rejects=rejects)))
"""

PYSHARK = """
import sys, pyshark
capture = pyshark.FileCapture(sys.argv[1], keep_packets=False, use_ek=sys.argv[2] == "ek", display_filter="sip")
seen = 0
for packet in capture:
    if sys.argv[2] == "ek":
        getattr(packet.sip, "Call-ID")
    else:
        packet.sip.call_id
    seen += 1
capture.close()
print(seen)
"""

BARE = Path(__file__).with_name("sip_bare.py")
SNGREP_DIALOGS = 10_000_000
"""Beyond its limit (20,000 unless told) sngrep ignores new dialogs."""


class Contender(Struct, frozen=True):
    """`seen` reads from its output how many messages or dialogs it saw, which must be `wanted`; ours is checked in full."""

    name: str
    command: list[str]
    packets: int
    wanted: int
    seen: Callable[[bytes], int]


def run(settings: Settings) -> Table:
    """Raises Mismatch where our calls, answered calls, talk time or seats are not those that were generated, or where a
    peer did not see every packet."""
    whole, part = settings.folder / "office.pcap", settings.folder / "office_slice.pcap"
    expected = generate(whole, round(PACKETS * settings.scale))
    contenders = _contenders(whole, part, expected, _slice(whole, part, SLICE_PACKETS))
    runs = medians([contender.command for contender in contenders], settings.runs)
    check(json.loads(runs[0].output), expected)
    for contender, done in zip(contenders, runs, strict=True):
        _check_peer(contender, done)
    yardstick = next(
        one.packets / done.wall_s for one, done in zip(contenders, runs, strict=True) if "stat" in one.name
    )
    return Table(
        name="sip",
        title="SIP from a capture file",
        columns=("contender", "packets", "wall s", "packets/s", "x tshark", "CPU s", "peak RSS MB"),
        rows=[_row(*row, yardstick) for row in zip(contenders, runs, strict=True)],
        notes=_notes(whole, expected, settings.runs),
    )


def ours(path: Path) -> list[str]:
    return [python(), "-c", OURS, str(path)]


def _contenders(whole: Path, part: Path, expected: Expected, sliced: int) -> list[Contender]:
    file, packets = str(whole), expected.packets
    dialogs = (
        expected.calls + expected.registered
    )  # phones keep the Call-ID of their registration (RFC 3261 section 10.2)
    return [
        Contender(
            "pegcount, to finished calls", ours(whole), packets, expected.calls, lambda out: json.loads(out)["calls"]
        ),
        Contender(
            "tshark -q -z sip,stat",
            [program("tshark"), "-q", "-z", "sip,stat", "-r", file],
            packets,
            packets,
            _number_after(rb"Number of SIP messages: (\d+)"),
        ),
        Contender(
            "sngrep -N",
            [program("sngrep"), "-N", "-F", "-l", str(SNGREP_DIALOGS), "-I", file],
            packets,
            dialogs,
            _number_after(rb"Dialog count: (\d+)\s*\Z"),
        ),
        Contender(
            "sipgrep -G, dialog report",
            [program("sipgrep"), "-C", "-G", "-R", "-I", file],
            packets,
            dialogs,
            lambda out: out.count(b"Dialog finished"),
        ),
        _pyshark("pyshark", part, sliced, "pdml"),
        _pyshark("pyshark use_ek", part, sliced, "ek"),
        Contender("a bare Python loop, nothing kept", [python(), str(BARE), file], packets, packets, int),
    ]


def _pyshark(name: str, part: Path, sliced: int, mode: str) -> Contender:
    command = [python(), "-c", PYSHARK, str(part), mode]
    return Contender(f"{name}, first {sliced:,} packets", command, sliced, sliced, int)


def _number_after(words: bytes) -> Callable[[bytes], int]:
    def read(output: bytes) -> int:
        found = re.search(words, output)
        return int(found[1]) if found else 0

    return read


def check(found: dict[str, int], expected: Expected) -> None:
    wanted = {
        "calls": expected.calls,
        "answered": expected.answered,
        "talk_ms": expected.talk_ms,
        "registered": expected.registered,
        "rejects": 0,
    }
    wrong = [f"{name} {found[name]:,} instead of {count:,}" for name, count in wanted.items() if found[name] != count]
    if wrong:
        raise Mismatch("pegcount found " + ", ".join(wrong))


def _check_peer(contender: Contender, done: Run) -> None:
    seen = contender.seen(done.output)
    if seen != contender.wanted:
        raise Mismatch(f"{contender.name} saw {seen:,} of {contender.wanted:,}")


def program(name: str) -> str:
    path = shutil.which(name)
    if not path:
        raise Failed(f"{name} is not installed")
    return path


def _slice(whole: Path, part: Path, packets: int) -> int:
    """The first packets of a capture file: how many there were."""
    with whole.open("rb") as source, part.open("wb") as out:
        out.write(source.read(24))
        for taken in range(packets):
            head = source.read(16)
            if not head:
                return taken
            out.write(head + source.read(struct.unpack_from("<I", head, 8)[0]))
    return packets


def _row(contender: Contender, done: Run, yardstick: float) -> tuple[str, ...]:
    rate = contender.packets / done.wall_s
    return (
        contender.name,
        f"{contender.packets:,}",
        f"{done.wall_s:.2f}",
        f"{rate:,.0f}",
        f"{rate / yardstick:.3g}",
        f"{done.cpu_s:.2f}",
        f"{done.rss_bytes / 1e6:.0f}",
    )


def _notes(path: Path, expected: Expected, runs: int) -> tuple[str, ...]:
    registrations = expected.requests["REGISTER"] * 2 / expected.packets
    return (
        f"One generated file, {path.stat().st_size / 1e6:.0f} MB: {expected.packets:,} packets ({registrations:.0%} "
        f"registrations), {expected.calls:,} calls ({expected.answered:,} answered, {expected.talk_ms / 1000:,.3f} s of "
        f"talk), {expected.registered} phones.",
        "pegcount's calls, answered calls, talk time and phones were equal to what was generated; the peers saw every "
        "message, or every dialog.",
        f"Whole processes in turns, median wall time of {runs}, largest peak memory (of the largest process where several "
        "run).",
        "pyshark's rate includes the start of its tshark, as every whole process does.",
    )
