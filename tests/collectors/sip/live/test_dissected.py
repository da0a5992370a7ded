"""Live through tshark: it is replaced again and again, and no message is lost or told twice."""

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence

import psutil
import pytest

from collectors.sip.live import dissected
from collectors.sip.live.dissected import DissectedSource
from collectors.sip.live.source import Frame
from collectors.sip.packets import SipPacket
from tests.collectors.net.wrap import over_tcp
from tests.collectors.sip.flows import PBX, Exchange, ethernet, in_order, phone, track
from tests.collectors.sip.live.memory import ETHERNET, Memory, live

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark (Debian: tshark)")

PACKETS = in_order(*(Exchange(f"c{n}", phone(n), PBX, str(n), "300").talk(n, n + 1, n + 60) for n in range(60)))


async def taken(source: DissectedSource, count: int) -> list[SipPacket]:
    packets: list[SipPacket] = []
    async with asyncio.timeout(30):
        while len(packets) < count:
            packets += await source.take(10_000, 0.1)
    return packets


async def through(frames: Sequence[Frame], count: int, restart_packets: int, at_once: int = 50) -> list[SipPacket]:
    source = DissectedSource(Memory(frames, at_once), (), restart_packets)
    await source.open(None)
    packets = await taken(source, count)
    assert not await source.take(100, 0.1)
    assert source.position == str(len(frames)).encode()
    assert source.counters["tshark_starts"] == -(-len(frames) // max(restart_packets, at_once))
    await source.close()
    return packets


async def test_calls_in_progress_go_on_while_tshark_is_replaced() -> None:
    packets = await through(live(PACKETS), len(PACKETS), restart_packets=150)
    assert packets == PACKETS
    assert [call.talk_ms for call in track(packets).calls] == [59_000] * 60


async def test_a_message_whose_segments_lie_on_both_sides_of_the_change_comes_whole_and_once() -> None:
    calls = [Exchange(f"t{n}", phone(n), PBX, str(n), "3", transport="tcp").talk(n, n + 1.5, n + 9.7) for n in range(4)]
    segments = sorted((segment for call in calls for segment in over_tcp(call, 100)), key=lambda segment: segment[0])
    frames = [Frame(at_us, ETHERNET, ethernet(packet)) for at_us, packet in segments]
    assert await through(frames, 4 * 7, restart_packets=9, at_once=9) == in_order(*calls)


async def test_a_tshark_that_dies_is_replaced_and_asked_again() -> None:
    source = DissectedSource(Memory(live(PACKETS), 50), (), 100_000)
    await source.open(None)
    packets = await taken(source, 50)
    assert source._run
    os.killpg(source._run._tshark.process.pid, signal.SIGKILL)
    packets += await taken(source, len(PACKETS) - 50)
    assert packets == PACKETS
    assert source.counters["tshark_crashes"] == 1
    await source.close()


async def test_a_frame_that_ends_every_tshark_is_left_out_and_counted() -> None:
    """tshark takes a record of more than 262,144 octets for a damaged file, and ends."""
    frames = live(PACKETS[:20])
    frames[7] = Frame(frames[7].at_us, ETHERNET, bytes(300_000))
    source = DissectedSource(Memory(frames), (), 100_000)
    await source.open(None)
    packets = await taken(source, 19)
    assert packets == [packet for at, packet in enumerate(PACKETS[:20]) if at != 7]
    assert source.counters["tshark_unreadable"] == 1
    assert source.counters["tshark_crashes"] == 2
    await source.close()


async def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dissected, "ANSWER_S", 2.0)
    source = DissectedSource(Memory(live(PACKETS), 50), (), 100_000)
    await source.open(None)
    packets = await taken(source, 50)
    assert source._run
    os.kill(source._run._tshark.process.pid, signal.SIGSTOP)
    packets += await taken(source, len(PACKETS) - 50)
    assert packets == PACKETS
    await source.close()


async def test_no_process_is_left_and_a_take_that_is_cancelled_has_taken_nothing() -> None:
    source = DissectedSource(Memory(live(PACKETS)), (), 100_000)
    await source.open(None)
    taking = asyncio.create_task(source.take(100, 1.0))
    await asyncio.sleep(0.02)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert source.position == b"0"
    assert await taken(source, len(PACKETS)) == PACKETS
    await source.close()
    assert [child.name() for child in psutil.Process().children() if "tshark" in child.name()] == []
