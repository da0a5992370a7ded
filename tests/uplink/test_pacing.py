"""A thin line: what is sent keeps to the rate, whatever it is cut into."""

import asyncio
import time
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.uplink.platform import TOKEN, counted_ids, receiver_at
from tests.uplink.site import MemoryOutbox
from uplink import pacing
from uplink.destinations import PegcountHttp, PegcountSettings
from uplink.pacing import BURST_S, Bucket
from uplink.shipper import Pace, Shipper


@given(
    st.lists(st.tuples(st.integers(1, 4000), st.floats(0, 5)), min_size=1, max_size=50),
    st.sampled_from([125.0, 8000.0, 1e6]),
)
def test_no_span_of_time_carries_more_than_the_rate_and_one_burst(takes: list[tuple[int, float]], rate: float) -> None:
    bucket, now_s, gone = Bucket(rate), 0.0, list[tuple[float, int]]()
    for size, pause_s in takes:
        now_s += pause_s
        now_s += bucket.take(size, now_s)
        gone.append((now_s, size))
    for start in range(len(gone)):
        for end in range(start, len(gone)):
            carried = sum(size for _, size in gone[start + 1 : end + 1])
            assert carried <= rate * (gone[end][0] - gone[start][0] + BURST_S) + 1e-3


async def test_an_upload_takes_as_long_as_its_line_is_thin_and_its_time_out_allows_for_it(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    random = Random(1)
    for _ in range(20):
        outbox.record(1, padding=random.randbytes(450).hex())
    async with receiver_at(tmp_path) as receiver:
        settings = PegcountSettings(url=receiver.url, token=TOKEN, timeout_s=0.8, max_kbit_s=64)
        destination = PegcountHttp(settings, "site-1")
        shipper = Shipper("platform", outbox, destination, Pace())
        began_s = time.monotonic()
        report = await shipper.upload()
        took_s = time.monotonic() - began_s
        await destination.close()
        assert (report.acked, report.problem) == (20, "")
        assert report.bytes > 8000
        assert took_s >= report.bytes / 8000 - BURST_S
        assert took_s <= report.bytes / 8000 + 1.5
        assert await counted_ids(receiver) == outbox.ids()


async def test_bodies_that_are_on_their_way_side_by_side_share_the_rate(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    random = Random(1)
    for _ in range(120):
        outbox.record(1, padding=random.randbytes(450).hex())
    async with receiver_at(tmp_path) as receiver:
        settings = PegcountSettings(url=receiver.url, token=TOKEN, max_kbit_s=640)
        destination = PegcountHttp(settings, "site-1")
        shipper = Shipper("platform", outbox, destination, Pace(max_events=4))
        began_s = time.monotonic()
        report = await shipper.upload()
        took_s = time.monotonic() - began_s
        await destination.close()
        assert (report.acked, report.batches, report.problem) == (120, 30, "")
        assert took_s >= report.bytes / 80_000 - BURST_S
        assert await counted_ids(receiver) == outbox.ids()


def test_requests_on_a_thin_line_are_small() -> None:
    assert pacing.bounded(4_194_304, 0) == 4_194_304
    assert pacing.bounded(4_194_304, 64) == 120_000
    assert pacing.bounded(100_000, 10_000) == 100_000


async def test_a_stop_ends_a_slow_upload() -> None:
    async def collect() -> list[bytes]:
        return [piece async for piece in pacing.paced(bytes(5000), Bucket(100))]

    task = asyncio.create_task(collect())
    await asyncio.sleep(0.05)
    task.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
