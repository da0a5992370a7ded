"""The schedule: uploads start by themselves, wait where a back-off stands, also after a restart."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from tests.uplink.platform import Ask, Clock, answers, counted_ids, fetch, line_to, pass_on, receiver_at, shipping
from tests.uplink.site import MemoryOutbox
from uplink import backoff
from uplink.backoff import Backoff
from uplink.schedule import Schedule
from uplink.timing import Timing
from uplink.upload import IN_FLIGHT_MAX
from uplink.uploader import UploadReport


class SetBack:
    """The wall clock, as the clock watch sees it."""

    moved_s = 0.0
    monotonic = staticmethod(time.monotonic)

    def time(self) -> float:
        return time.time() - self.moved_s


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    for _ in range(int(timeout_s / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


async def test_a8_a_single_event_is_sent_by_the_timer_without_a_second_one(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, wall_ms, interval_ms=300) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=0.3, jitter_s=0))
        await schedule.start()
        await until(lambda: outbox.uploads)
        outbox.record(1)
        await until(lambda: outbox.acked == 1)
        await schedule.stop()
        assert await counted_ids(receiver) == ["event-1"]


async def test_each_upload_is_told(tmp_path: Path) -> None:
    outbox, reports = MemoryOutbox(), list[UploadReport]()

    async def told(report: UploadReport) -> None:
        reports.append(report)

    outbox.record(3)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, wall_ms) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=0.2, jitter_s=0), told)
        await schedule.start()
        await until(lambda: len(reports) >= 2)
        await schedule.stop()
    assert (reports[0].acked, reports[0].problem, reports[1].acked) == (3, "", 0)


async def test_b9_a_back_off_that_was_stored_holds_after_a_restart_and_ends(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(3)
    retry_at_ms = wall_ms() + 600
    outbox.backoff = backoff.dump(Backoff(failures=3, retry_at_ms=retry_at_ms, problem="throttled", last=3))
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, wall_ms) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=0.1, jitter_s=0))
        await schedule.start()
        assert [each.problem.code for each in shipper.problems()] == ["throttled"]
        assert retry_at_ms <= (schedule.next_at_ms() or 0) <= retry_at_ms + 200
        await until(lambda: outbox.acked == 3)
        assert outbox.uploads[0].at_ms >= retry_at_ms
        await schedule.stop()
        assert shipper.problems() == []


async def test_a_failed_upload_is_tried_again_before_the_next_regular_one(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(3)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        line.faults = [answers("500 Oh no")]
        async with shipping(outbox, line.url, wall_ms) as shipper:
            schedule = Schedule(shipper, Timing(interval_s=3600, jitter_s=0))
            await schedule.start()
            await until(lambda: outbox.acked == 3)
            await schedule.stop()
            assert [each.status for each in outbox.uploads] == ["server_error", "acknowledged"]


async def test_upload_now_does_not_ask_the_back_off(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(3)
    outbox.backoff = backoff.dump(Backoff(retry_at_ms=wall_ms() + 3_600_000, problem="unauthorized"))
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, wall_ms) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=3600, jitter_s=0))
        await schedule.start()
        assert (await schedule.upload_now()).acked == 3
        await schedule.stop()
        assert schedule.next_at_ms() is None


async def test_a_stopped_schedule_starts_nothing(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, wall_ms) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=0.1, jitter_s=0))
        await schedule.start()
        await until(lambda: outbox.uploads)
        await schedule.stop()
        await schedule.stop()
        uploads = len(outbox.uploads)
        await asyncio.sleep(0.3)
        assert len(outbox.uploads) == uploads


async def test_a_stop_that_cuts_short_what_follows_an_upload_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox, told = MemoryOutbox(), list[UploadReport]()

    async def slowly(report: UploadReport) -> None:
        told.append(report)
        await asyncio.sleep(3600)

    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, wall_ms) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=3600, jitter_s=0), slowly)
        await schedule.start()
        await until(lambda: told)
        await schedule.stop()
        await asyncio.sleep(0.05)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_cron_is_the_sites_time() -> None:
    trigger = Timing(cron="30 2 * * *", jitter_s=0, timezone="Europe/Berlin").trigger()
    winter = trigger.get_next_fire_time(None, datetime(2026, 11, 20, 12, tzinfo=UTC))
    summer = trigger.get_next_fire_time(None, datetime(2026, 7, 1, 12, tzinfo=UTC))
    assert winter.astimezone(UTC) == datetime(2026, 11, 21, 1, 30, tzinfo=UTC)
    assert summer.astimezone(UTC) == datetime(2026, 7, 2, 0, 30, tzinfo=UTC)


def test_jitter_moves_each_start_later_and_never_far() -> None:
    trigger = Timing(cron="0 * * * *", jitter_s=600).trigger()
    at = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
    starts = {trigger.get_next_fire_time(None, at) for _ in range(50)}
    assert len(starts) > 10
    assert all(abs((start - datetime(2026, 11, 20, 13, tzinfo=UTC)).total_seconds()) <= 600 for start in starts)


def test_a_sites_place_in_the_jitter_is_its_own_and_stays_while_a_fleet_is_spread_evenly() -> None:
    at = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
    places = [Timing(jitter_s=1000, site=f"site-{number}").own_s() for number in range(1000)]
    for quarter in range(4):
        assert 175 <= sum(225 * quarter <= place < 225 * (quarter + 1) for place in places) <= 325
    for timing in (Timing(cron="0 * * * *", jitter_s=1000, site="a"), Timing(interval_s=3600, jitter_s=1000, site="a")):
        trigger = timing.trigger(Random(3))
        first = trigger.get_next_fire_time(None, at)
        times = [first]
        for _ in range(20):
            times.append(trigger.get_next_fire_time(times[-1], times[-1]))
        regular = [(each - first).total_seconds() % 3600 for each in times]
        assert all(within <= 100 or within >= 3500 for within in regular)
        assert all(3500 <= (b - a).total_seconds() <= 3700 for a, b in itertools.pairwise(times))


async def test_with_stream_something_new_is_sent_at_once_and_what_comes_together_goes_together(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, wall_ms) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=3600, jitter_s=0, stream=True))
        await schedule.start()
        await until(lambda: outbox.uploads)
        for _ in range(3):
            outbox.record(2)
            await asyncio.to_thread(schedule.notice)
        await until(lambda: outbox.acked == 6)
        await schedule.stop()
        assert [each.count for each in outbox.uploads] == [0, 6]
        assert await counted_ids(receiver) == outbox.ids()


async def test_with_stream_what_comes_during_an_upload_is_taken_along(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:

        async def slowly(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
            outbox.record(1)
            schedule.notice()
            await asyncio.sleep(0.1)
            await pass_on(writer, request, ask)

        async with shipping(outbox, line.url, wall_ms) as shipper:
            schedule = Schedule(shipper, Timing(interval_s=3600, jitter_s=0, stream=True))
            line.faults = [slowly, slowly, slowly]
            await schedule.start()
            await until(lambda: outbox.acked == 3)
            await schedule.stop()


async def test_with_stream_a_back_off_is_kept(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.backoff = backoff.dump(Backoff(retry_at_ms=wall_ms() + 1500, problem="throttled"))
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, wall_ms) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=3600, jitter_s=0, stream=True))
        await schedule.start()
        outbox.record(1)
        schedule.notice()
        await asyncio.sleep(1)
        assert outbox.uploads == []
        await until(lambda: outbox.acked == 1)
        await schedule.stop()


async def test_c12_with_stream_a_clock_that_is_set_back_does_not_hold_up_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be sent in a moment is an hour ahead on a clock that was set back by an hour."""
    clock, outbox = SetBack(), MemoryOutbox()
    monkeypatch.setattr("uplink.schedule.time", clock)
    monkeypatch.setattr("uplink.schedule.CLOCK_CHECK_S", 0.05)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, wall_ms) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=7200, jitter_s=0, stream=True))
        await schedule.start()
        await until(lambda: outbox.uploads)
        monkeypatch.setattr("uplink.schedule.LINGER_S", 3600)
        outbox.record(1)
        schedule.notice()
        await asyncio.sleep(0.2)
        assert outbox.acked == 0
        monkeypatch.setattr("uplink.schedule.LINGER_S", 0.05)
        clock.moved_s = 3600.0
        await until(lambda: outbox.acked == 1)
        outbox.record(1)
        schedule.notice()
        await until(lambda: outbox.acked == 2)
        await schedule.stop()


async def test_outside_its_window_a_site_sends_heartbeats_only_and_what_a_person_asks_for(tmp_path: Path) -> None:
    outbox, clock = MemoryOutbox(), Clock(int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp() * 1000))
    outbox.record(5)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, clock, max_events=1) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=0.2, jitter_s=0, stream=True, window="22:00-06:00"))
        await schedule.start()
        schedule.notice()
        await until(lambda: len(outbox.uploads) >= 3)
        assert {each.count for each in outbox.uploads} == {0}
        assert (await fetch(receiver, "/v1/sites/site-1"))["epochs"][0]["acked_through"] == 0
        assert (await schedule.upload_now()).acked == 5
        outbox.record(3)
        await asyncio.sleep(0.3)
        assert outbox.acked == 5
        clock.now_ms += 10 * 3_600_000
        await until(lambda: outbox.acked == 8)
        await schedule.stop()
        assert await counted_ids(receiver) == outbox.ids()


async def test_an_upload_that_is_running_when_the_window_closes_ends_with_what_is_on_its_way(tmp_path: Path) -> None:
    outbox, clock = MemoryOutbox(), Clock(int(datetime(2026, 11, 20, 23, tzinfo=UTC).timestamp() * 1000))
    outbox.record(20)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:

        async def at_six(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
            clock.now_ms += 7 * 3_600_000
            await pass_on(writer, request, ask)

        async with shipping(outbox, line.url, clock, max_events=1) as shipper:
            Schedule(shipper, Timing(jitter_s=0, window="22:00-06:00"))
            line.faults = [pass_on, at_six]
            assert 2 <= (await shipper.upload()).acked <= 1 + IN_FLIGHT_MAX


@pytest.mark.parametrize(("cron", "interval_ms"), [("*/5 * * * *", 300_000), ("0 3 * * *", 86_400_000)])
def test_the_interval_of_a_cron_expression_caps_the_back_off(cron: str, interval_ms: int) -> None:
    assert Timing(cron=cron).interval_ms() == interval_ms


async def test_c12_a_clock_that_is_set_back_a_day_does_not_silence_the_site_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, outbox = SetBack(), MemoryOutbox()
    monkeypatch.setattr("uplink.schedule.time", clock)
    monkeypatch.setattr("uplink.schedule.CLOCK_CHECK_S", 0.05)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, wall_ms) as shipper:
        schedule = Schedule(shipper, Timing(interval_s=3600, jitter_s=0))
        await schedule.start()
        await until(lambda: outbox.uploads)
        await asyncio.sleep(0.2)
        assert len(outbox.uploads) == 1
        clock.moved_s = 86_400.0
        await until(lambda: len(outbox.uploads) == 2)
        assert (schedule.next_at_ms() or 0) <= wall_ms() + 3_600_000
        await schedule.stop()
