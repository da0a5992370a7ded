"""Whether the collector's memory and speed stay the same while a capture grows tenfold: the same office for a longer time."""

import json

from benchmarks.measure import medians
from benchmarks.report import Settings, Table
from benchmarks.sip import check, ours
from benchmarks.sip_traffic import generate

PACKETS = (200_000, 1_000_000, 2_000_000)


def run(settings: Settings) -> Table:
    """Raises Mismatch where what was found is not what was generated."""
    rows = []
    for packets in PACKETS:
        path = settings.folder / "office.pcap"
        expected = generate(path, round(packets * settings.scale))
        [done] = medians([ours(path)], settings.runs)
        check(json.loads(done.output), expected)
        rate = expected.packets / done.wall_s
        size = f"{path.stat().st_size / 1e6:,.0f}"
        rows.append(
            (f"{expected.packets:,}", size, f"{done.wall_s:.2f}", f"{rate:,.0f}", f"{done.rss_bytes / 1e6:.0f}")
        )
    return Table(
        name="sip_growth",
        title="SIP from longer captures: what grows",
        columns=("packets", "file MB", "wall s", "packets/s", "peak RSS MB"),
        rows=rows,
        notes=(
            f"Whole processes, median wall time of {settings.runs}, largest peak memory; calls, talk time and phones were "
            "equal to what was generated.",
        ),
    )
