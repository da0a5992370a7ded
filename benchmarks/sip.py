"""SIP from a capture file to finished calls, beside what else reads such files.

Every contender is a whole process, from start to exit, on the same file. Ours does the most work (it follows dialogs and
registrations and joins legs to calls), `tshark -q -z sip,stat` counts messages, and pyshark hands each message's Call-ID
to a Python loop; pyshark gets the first packets only, since it takes minutes for them all.
"""

import json
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

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


def run(settings: Settings) -> Table:
    """Raises Mismatch where our calls, answered calls, talk time or seats are not those that were generated, or where a
    peer did not see every packet."""
    packets = round(PACKETS * settings.scale)
    whole, part = settings.folder / "office.pcap", settings.folder / "office_slice.pcap"
    expected = generate(whole, packets)
    sliced = _slice(whole, part, SLICE_PACKETS)
    tshark = _program("tshark")
    commands = [
        [python(), "-c", OURS, str(whole)],
        [tshark, "-q", "-z", "sip,stat", "-r", str(whole)],
        [python(), "-c", PYSHARK, str(part), "pdml"],
        [python(), "-c", PYSHARK, str(part), "ek"],
    ]
    runs = medians(commands, settings.runs)
    _check(json.loads(runs[0].output), expected)
    _check_peers(runs[1:], expected, sliced)
    names = (
        "pegcount, to finished calls",
        "tshark -q -z sip,stat",
        f"pyshark, first {sliced:,} packets",
        f"pyshark use_ek, first {sliced:,} packets",
    )
    counts = (expected.packets, expected.packets, sliced, sliced)
    yardstick = expected.packets / runs[1].wall_s
    return Table(
        name="sip",
        title="SIP from a capture file",
        columns=("contender", "packets", "wall s", "packets/s", "x tshark", "CPU s", "peak RSS MB"),
        rows=[_row(*row, yardstick) for row in zip(names, counts, runs, strict=True)],
        notes=_notes(whole, expected, settings.runs),
    )


def _check(found: dict[str, int], expected: Expected) -> None:
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


def _check_peers(runs: Sequence[Run], expected: Expected, sliced: int) -> None:
    """A peer that did not see every message was not measured on the same work."""
    tshark, *pyshark = runs
    if f"Number of SIP messages: {expected.packets}".encode() not in tshark.output:
        raise Mismatch("tshark did not see every message of the file")
    for run in pyshark:
        if int(run.output) != sliced:
            raise Mismatch(f"pyshark saw {int(run.output):,} of {sliced:,} messages")


def _program(name: str) -> str:
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


def _row(name: str, packets: int, run: Run, yardstick: float) -> tuple[str, ...]:
    rate = packets / run.wall_s
    return (
        name,
        f"{packets:,}",
        f"{run.wall_s:.2f}",
        f"{rate:,.0f}",
        f"{rate / yardstick:.3g}",
        f"{run.cpu_s:.2f}",
        f"{run.rss_bytes / 1e6:.0f}",
    )


def _notes(path: Path, expected: Expected, runs: int) -> tuple[str, ...]:
    return (
        f"One generated file, {path.stat().st_size / 1e6:.0f} MB: {expected.packets:,} packets, {expected.calls:,} calls "
        f"({expected.answered:,} answered, {expected.talk_ms / 1000:,.3f} s of talk), {expected.registered} phones.",
        "pegcount's calls, answered calls, talk time and phones were equal to what was generated.",
        f"Whole processes in turns, median wall time of {runs}, largest peak memory (of the largest process where several "
        "run).",
        "pyshark's rate includes the start of its tshark, as every whole process does.",
    )
