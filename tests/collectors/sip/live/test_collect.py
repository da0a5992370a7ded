"""What every live source shares: frames become the same calls as from a file, once, whatever stops in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.contract import SourceUnavailable
from collectors.io import resuming
from collectors.sip.dissect import Dissector
from collectors.sip.join import join
from collectors.sip.limits import Limits
from collectors.sip.live.collect import LiveCollector
from collectors.sip.live.source import Frame
from collectors.sip.live.stream import LiveStream
from collectors.sip.packets import SipPacket
from collectors.sip.site import Site
from collectors.sip.tracker import Tracker
from tests.collectors.net.wrap import over_tcp
from tests.collectors.sip.flows import PBX, Exchange, ethernet, in_order, phone, register, track
from tests.collectors.sip.live.memory import Kept, Memory, live

PACKETS = in_order(
    *(Exchange(f"c{n}", phone(101 + n), PBX, str(101 + n), "300").talk(n, n + 1, n + 6) for n in range(9)),
    register(3, "101"),
)
LATER = Exchange("later", phone(150), PBX, "150", "300").invite(4_000)
"""By its time all that came before has settled."""


def stream() -> LiveStream:
    return LiveStream(Dissector(Limits(), dedup=True), Tracker(Limits(), Site()))


@asynccontextmanager
async def running(source: Memory, sink: Kept, checkpoint: bytes | None = None) -> AsyncIterator[LiveCollector]:
    collector = LiveCollector(source, stream)
    task = asyncio.create_task(collector.run(sink, checkpoint))
    try:
        yield collector
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("held", [live([*PACKETS, LATER]), [*PACKETS, LATER]], ids=["frames", "packets"])
async def test_live_gives_the_legs_that_the_tracker_makes_of_the_same_packets(
    held: Sequence[Frame | SipPacket],
) -> None:
    sink = Kept()
    async with running(Memory(held), sink) as collector:
        await until(lambda: len(sink.legs) == 9)
        probe = collector.probe()
    expected = track(PACKETS)
    assert sorted(sink.legs, key=lambda leg: leg.key) == sorted(expected.legs, key=lambda leg: leg.key)
    assert [one for one in sink.records if one in expected.registrations] == expected.registrations
    assert (probe.counters["packets"], probe.counters["kernel_drops"], probe.detail) == (len(held), 3, "in memory")
    assert probe.heard_at_ms == LATER.at_us // 1000


async def test_a_call_that_has_ended_is_handed_in_though_nothing_follows() -> None:
    sink = Kept()
    whole = Exchange("c0", phone(101), PBX, "101", "300").talk(0, 1, 6)
    async with running(Memory(live(whole)), sink):
        await until(lambda: sink.legs)


async def test_killed_in_the_midst_it_goes_on_at_its_checkpoint_and_no_call_is_lost_or_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resuming, "SNAPSHOT_BYTES", 2_000)
    half = len(PACKETS) - 12
    source, before, after = Memory(live(PACKETS[:half]), at_once=7), Kept(), Kept()
    async with running(source, before):
        await until(lambda: source.next == half and before.legs)
    source.held += live([*PACKETS[half:], LATER])
    async with running(source, after, before.checkpoint):
        await until(lambda: len({*before.keys, *after.keys}) == 9)
    assert {*before.keys, *after.keys} == {leg.key for leg in track(PACKETS).legs}
    assert source.released > 0


async def test_what_a_failing_source_gave_is_in_the_last_checkpoint_though_it_cannot_give_it_again() -> None:
    half = len(PACKETS) // 2

    class Breaking(Memory):
        async def take(self, at_most: int, wait_s: float) -> Sequence[Frame | SipPacket]:
            if self.next == half:
                raise SourceUnavailable("the service is gone")
            return await super().take(at_most, wait_s)

    before, after = Kept(), Kept()
    with pytest.raises(SourceUnavailable):
        await LiveCollector(Breaking(live(PACKETS[:half])), stream).run(before, None)
    rest = Memory([*live(PACKETS[:0])])
    rest.held = [live([LATER])[0]] * half + live([*PACKETS[half:], LATER])
    async with running(rest, after, before.checkpoint):
        await until(lambda: len({*before.keys, *after.keys}) == 9)


async def test_nothing_is_released_that_is_not_durable() -> None:
    source, sink = Memory(live([*PACKETS, LATER])), Kept()
    async with running(source, sink):
        await until(lambda: len(sink.legs) == 9)
        assert source.released == 0, "no snapshot is behind it yet"
    again = Kept()
    async with running(source, again, sink.batches[0].checkpoint):
        await until(lambda: len(again.legs) == 9)
    assert sorted(again.keys) == sorted(sink.keys)


async def test_a_checkpoint_of_another_version_starts_anew_and_says_so() -> None:
    source, sink = Memory(live([*PACKETS, LATER])), Kept()
    async with running(source, sink, b"\x93\x63\xa0\xa0") as collector:
        await until(lambda: len(sink.legs) == 9)
        assert collector.probe().counters["resumed_without_state"] == 1


async def test_a_source_that_fails_is_closed_and_its_error_is_told() -> None:
    class Broken(Memory):
        async def take(self, at_most: int, wait_s: float) -> Sequence[Frame | SipPacket]:
            raise SourceUnavailable("the line is cut")

    source = Broken()
    with pytest.raises(SourceUnavailable, match="the line is cut"):
        await LiveCollector(source, stream).run(Kept(), None)
    assert not source.is_open


FRAMES = live([*PACKETS, LATER])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(FRAMES)))
def test_a_stream_restored_anywhere_goes_on_as_if_nothing_had_been(cut: int) -> None:
    whole, first, second = stream(), stream(), stream()
    whole.feed(FRAMES)
    first.feed(FRAMES[:cut])
    records = [*first.drain()[0]]
    second.restore(first.snapshot())
    second.feed(FRAMES[cut:])
    assert [*records, *second.drain()[0]] == [*whole.drain()[0]]


def test_a_message_behind_a_segment_that_was_not_captured_is_told_when_nothing_follows() -> None:
    call = Exchange("gap", phone(101), PBX, "101", "300", transport="tcp").talk(0, 1, 6)
    wire = list(over_tcp(call, 100))
    bye = next(number for number, (at_us, _) in enumerate(wire) if at_us == call[-2].at_us)
    del wire[bye - 1]  # the end of the ACK, from the same phone
    heard = stream()
    heard.feed([Frame(at_us, 1, ethernet(packet)) for at_us, packet in wire])
    heard.tick(60_000_000)
    [leg] = heard.drain()[0]
    assert join([leg]).talk_ms == 5_000  # type: ignore[list-item]
