"""Live capture: how much SIP and RTP the service and the agent take without losing a frame, and at what cost.

Each run is a network namespace of its own with the real service and the real agent (benchmarks/live_load.py). The first rows
must lose nothing; then the rate is raised until something is lost. There is no peer beside it: those that can capture live
keep no calls, or no ledger.
"""

import shutil
import subprocess

import msgspec
from msgspec import Struct

from benchmarks.measure import Failed, python
from benchmarks.report import Mismatch, Settings, Table

SIP_RATE, RTP_RATE = 10_000, 20_000
"""What must not lose a frame: messages of SIP, and packets of 200 calls of G.711 both ways."""
SECONDS = 30
CLIMB = (20_000, 30_000, 40_000, 60_000)
CLIMB_SECONDS = 10


class Told(Struct, frozen=True):
    """What benchmarks/live_load.py prints: of `cpu_s` and `rss_bytes` the service's, then the agent's."""

    sent: int
    took_s: float
    expected: int
    counters: dict[str, int]
    cpu_s: tuple[float, float]
    rss_bytes: tuple[int, int]

    @property
    def lost(self) -> int:
        return self.counters["kernel_drops"] + self.counters["frames_lost"]


def run(settings: Settings) -> Table:
    """Raises Mismatch where a frame was lost at a rate that must lose none, or calls were not those that were sent."""
    if shutil.which("unshare") is None:
        raise Failed("live needs unshare (util-linux) and root")
    seconds = SECONDS * settings.scale
    rows = [_row("SIP", told := _load(settings, "sip", SIP_RATE, seconds))]
    _check(told, told.counters["calls"] == told.expected)
    rows.append(_row('RTP of 200 calls, `media = "rtp"`', told := _load(settings, "rtp", RTP_RATE, seconds)))
    _check(told, not told.counters.get("other_udp"))
    for rate in CLIMB:
        rows.append(_row("SIP, faster", told := _load(settings, "sip", rate, CLIMB_SECONDS * settings.scale)))
        if told.lost:
            break
    return Table(
        name="live",
        title="Live capture on loopback",
        columns=("load", "frames", "frames/s", "lost", "service CPU", "agent CPU", "service MB", "agent MB"),
        rows=rows,
        notes=(
            "The service `pegcount capture` and the agent `pegcount run` as a site runs them, ledger on the disk; the sender "
            "shares their processors. CPU in parts of one processor, from the first frame until all calls are handed in.",
            "Peak memory. The agent still knows the calls that ended within the last 32 s, to recognise retransmissions: at "
            "10,000 messages a second, the traffic of tens of thousands of phones, these are some 30,000.",
            "Lost: what the kernel dropped (PACKET_STATISTICS) and what the service had to. All else was counted by the agent, "
            "frame by frame, and the calls of the first row were those that were sent.",
        ),
    )


def _load(settings: Settings, kind: str, rate: int, seconds: float) -> Told:
    folder = settings.folder / f"{kind}-{rate}"
    folder.mkdir()
    command = ["unshare", "--net", python(), "-m", "benchmarks.live_load", str(folder), kind, str(rate), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{kind} at {rate}: {done.stderr[-1000:]} {(folder / 'log').read_text()[-1000:]}")
    return msgspec.json.decode(done.stdout, type=Told)


def _check(told: Told, right: bool) -> None:
    if told.lost or not right:
        raise Mismatch(f"of {told.sent} frames {told.lost} were lost; expected {told.expected} calls: {told.counters}")


def _row(name: str, told: Told) -> tuple[str, ...]:
    service, agent = (f"{cpu_s / told.took_s:.2f}" for cpu_s in told.cpu_s)
    megabytes = (f"{size / 1e6:.0f}" for size in told.rss_bytes)
    return name, f"{told.sent:,}", f"{told.sent / told.took_s:,.0f}", f"{told.lost:,}", service, agent, *megabytes
