"""The kind `sip`: a capture file named in the configuration, read once, in batches."""

import gzip
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from collectors.contract import Batch, Context, SourceMisconfigured, SourceUnavailable
from collectors.sip.kind import KIND, SipCollector, SipConfig
from collectors.sip.leg import SipLeg
from tests.collectors.sip.flows import PBX, Exchange, frame_of, in_order, pcap, pcapng, phone, register

CALLS = [
    Exchange(f"c{n}", phone(101 + n % 5), PBX, str(101 + n % 5), "300").talk(n * 10, n * 10 + 1, n * 10 + 6)
    for n in range(900)
]
PACKETS = in_order(*CALLS, register(3, "101"))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "office.pcap"
    path.write_bytes(pcap([(packet.at_us, frame_of(packet)) for packet in PACKETS]))
    return path


class Kept:
    """A sink that keeps all; `lost_after` batches it fails as a process that is killed would."""

    def __init__(self, lost_after: int = -1) -> None:
        self.batches: list[Batch] = []
        self.lost_after = lost_after

    async def put(self, batch: Batch) -> None:
        if len(self.batches) == self.lost_after:
            raise KeyboardInterrupt
        self.batches.append(batch)

    @property
    def keys(self) -> list[str]:
        return [record.key for batch in self.batches for record in batch.records]


def context(folder: Path) -> Context:
    return Context(name="office", folder=folder, clock_ms=lambda: 0)


def test_a_file_gives_its_calls_in_bounded_batches_all_legs_of_one_together(capture: Path) -> None:
    batches = list(KIND.read(capture, SipConfig())) if KIND.read else []
    assert len(batches) > 1
    legs = [leg for batch in batches for leg in batch.records if isinstance(leg, SipLeg)]
    assert len({leg.call_key for leg in legs}) == len(CALLS)
    assert sum(KIND.join([leg]).talk_ms for leg in legs) == 900 * 5_000
    assert batches[-1].source_time_ms == PACKETS[-1].at_us // 1000
    for number, batch in enumerate(batches):
        here = {leg.call_key for leg in batch.records if isinstance(leg, SipLeg)}
        later = {leg.call_key for other in batches[number + 1 :] for leg in other.records if isinstance(leg, SipLeg)}
        assert not here & later


async def test_the_collector_reads_its_file_once(capture: Path, tmp_path: Path) -> None:
    collector = KIND.open(SipConfig(path=str(capture)), context(tmp_path))
    kept = Kept()
    await collector.run(kept, None)
    assert len(kept.keys) == len(set(kept.keys)) >= len(CALLS)
    assert collector.probe().backlog_bytes == 0
    assert collector.probe().counters["calls"] == len(CALLS)
    again = Kept()
    await SipCollector(SipConfig(path=str(capture)), context(tmp_path)).run(again, kept.batches[-1].checkpoint)
    assert again.batches == []


async def test_a_reading_that_was_killed_is_done_again_with_the_same_keys(capture: Path, tmp_path: Path) -> None:
    config, whole, killed, again = SipConfig(path=str(capture)), Kept(), Kept(lost_after=1), Kept()
    await SipCollector(config, context(tmp_path)).run(whole, None)
    with pytest.raises(KeyboardInterrupt):
        await SipCollector(config, context(tmp_path)).run(killed, None)
    await SipCollector(config, context(tmp_path)).run(again, killed.batches[-1].checkpoint or None)
    assert again.keys == whole.keys
    assert set(killed.keys) < set(whole.keys)


def test_a_damaged_file_gives_what_stands_before_and_a_reject(capture: Path) -> None:
    capture.write_bytes(capture.read_bytes()[:-5])
    batches = list(KIND.read(capture, SipConfig())) if KIND.read else []
    [reject] = [reject for batch in batches for reject in batch.rejects]
    assert reject.reason == "capture_damaged"
    assert reject.position.startswith("office.pcap:")
    assert sum(len(batch.records) for batch in batches) >= len(CALLS)


def test_a_compressed_capture_gives_the_same_records_and_one_cut_short_a_reject(capture: Path) -> None:
    assert KIND.read is not None
    plain = [record for batch in KIND.read(capture, SipConfig()) for record in batch.records]
    capture.write_bytes(gzip.compress(capture.read_bytes()))
    assert [record for batch in KIND.read(capture, SipConfig()) for record in batch.records] == plain
    capture.write_bytes(capture.read_bytes()[:-5])
    [reject] = [reject for batch in KIND.read(capture, SipConfig()) for reject in batch.rejects]
    assert reject.reason == "capture_damaged"


def test_a_missing_file_and_one_that_is_no_capture_are_told_apart(tmp_path: Path) -> None:
    assert KIND.read is not None
    with pytest.raises(SourceUnavailable, match="No such file"):
        list(KIND.read(tmp_path / "none.pcap", SipConfig()))
    text = tmp_path / "text.pcap"
    text.write_text("not a capture")
    with pytest.raises(SourceMisconfigured, match="neither a pcap nor a pcapng"):
        list(KIND.read(text, SipConfig()))


def test_a_capture_is_told_by_its_first_octets() -> None:
    assert KIND.sniff is not None
    assert KIND.sniff("x", pcap([])) > 50
    assert KIND.sniff("x", pcapng([])) > 50
    assert KIND.sniff("x.pcap.gz", gzip.compress(pcap([]))) > 50
    assert KIND.sniff("x.pcap", b"INVITE") == 0
    assert KIND.sniff("x.gz", gzip.compress(b"INVITE")) == 0
    assert KIND.sniff("x.gz", b"\x1f\x8b\x08\xff") == 0


def test_the_sample_configuration_is_valid() -> None:
    folder = Path(__file__).resolve().parents[3] / "collectors" / "sip"
    table = tomllib.loads((folder / "sample.toml").read_text())["source"][0]
    name = table.pop("name")
    config = msgspec.convert(table, SipConfig)
    assert (name, config.path) == ("office-capture", "/var/lib/pegcount/office.pcap")
    commented = "".join(
        line.removeprefix("# ") for line in (folder / "sample.toml").read_text().splitlines(True) if " = " in line
    )
    full = tomllib.loads("[[source]]\n" + commented)["source"][0]
    full.pop("name")
    assert set(full) - {"kind"} == set(SipConfig.__struct_fields__)
    msgspec.convert(full, SipConfig)


def test_the_readme_names_every_counter() -> None:
    folder = Path(__file__).resolve().parents[3] / "collectors" / "sip"
    modules = (*folder.rglob("*.py"), *(folder.parent / "net").glob("*.py"))
    source = "".join(path.read_text() for path in modules)
    used = set(re.findall(r'(?:counters|_counts)\["([a-z_]+)"\]', source))
    used |= set(re.findall(r'NotUnderstood\("([a-z_]+)"\)', source))
    used |= set(re.findall(r'(?:_forget|_leave)\("([a-z_]+)"\)', source))
    used |= {"tls_unreadable", "tshark_unreadable", "keepalives", "not_sip", "other_protocol", "tcp_other_streams"}
    table = (folder / "README.md").read_text().partition("## Counters")[2]
    told = set(re.findall(r"`([a-z_]+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line)))
    assert used <= told
    assert told - used <= {"packets", "messages", "registers", "kernel_drops"}
