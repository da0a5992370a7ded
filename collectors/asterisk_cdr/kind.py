"""The kind `asterisk_cdr`: Asterisk's Master.csv (cdr_csv), also as FreePBX and other distributions write it."""

from collectors.asterisk_cdr.collect import AsteriskCdrCollector, read
from collectors.asterisk_cdr.config import AsteriskCdrConfig
from collectors.asterisk_cdr.decode import Decoder
from collectors.asterisk_cdr.join import join
from collectors.asterisk_cdr.leg import AsteriskLeg
from collectors.contract import Kind

SNIFFED_LINES = 20


def sniff(name: str, head: bytes) -> int:
    """By how many of the first lines are records; by its name alone hardly at all, since others write a Master.csv too."""
    lines = head.split(b"\n")[:-1] if b"\n" in head else [head]
    lines = [line for line in lines if line.strip()][:SNIFFED_LINES]
    named = 5 if name.startswith("Master") and ".csv" in name else 0
    if not lines:
        return named
    legs, _ = Decoder("UTC", "UTC").decode(b"\n".join(lines) + b"\n", name, 1, 1)
    read_well = sum(1 for leg in legs if not leg.seen_from_b)
    return named + 90 * read_well // len(lines)


KIND = Kind(
    name="asterisk_cdr",
    config=AsteriskCdrConfig,
    leg=AsteriskLeg,
    join=join,
    open=AsteriskCdrCollector,
    read=read,
    sniff=sniff,
)
