"""Several batches on their way at once: when, how many, and what becomes of those behind one that fails.

Each test ends with the same question as the shipper's: is every event at the receiver, exactly once?
"""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.uplink.enrolled import SITE, enrol_at, enrolled_shipping, give_token, platform_at
from tests.uplink.platform import (
    Ask,
    Fault,
    Line,
    answers,
    counted_ids,
    line_to,
    lost_answer,
    pass_on,
    receiver_at,
    shipping,
)
from tests.uplink.site import MemoryOutbox
from uplink.batch import Batch
from uplink.receiver.storage.sqlite import SqliteStore
from uplink.session import Answer, Failure
from uplink.shipper import Shipper
from uplink.status import FIELD, AgentStatus, parse
from uplink.upload import IN_FLIGHT_MAX, OVERTAKEN_MAX

GAP = "Content-Type: application/problem+json"


class Watched:
    """What an agent sends: the first number of each batch, and how many were on their way then, itself among them."""

    def __init__(self, shipper: Shipper) -> None:
        self.firsts: list[int] = []
        self.at_once: list[int] = []
        self.told: list[AgentStatus | None] = []
        self.now = 0
        self._post = shipper.destination.post
        shipper.destination.post = self.post  # type: ignore[method-assign]

    def last_sent(self, first: int) -> tuple[int, int]:
        """Which of all that was sent, and how many were on their way then."""
        which = max(n for n, each in enumerate(self.firsts) if each == first)
        return which, self.at_once[which]

    async def post(self, batch: Batch) -> Answer | Failure:
        self.now += 1
        self.firsts.append(batch.head.first)
        self.at_once.append(self.now)
        self.told.append(parse(batch.headers[FIELD]))
        try:
            return await self._post(batch)
        finally:
            self.now -= 1


def plays(line: Line, fault_of: Callable[[int], Fault]) -> None:
    """The line does with each request what `fault_of` says for the number that it begins with."""

    async def play(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        await fault_of(int(re.findall(rb"first=(\d+)", request)[0]))(writer, request, ask)

    line.faults = [play] * 1000


def after(delay_s: float, then: Fault = pass_on) -> Fault:
    """The platform has it at once, and answers later."""

    async def fault(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        answer = await ask()

        async def had() -> bytes:
            return answer

        await asyncio.sleep(delay_s)
        await then(writer, request, had)

    return fault


def late(fault: Fault) -> Fault:
    """It comes when others are on their way behind it."""

    async def later(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        await asyncio.sleep(0.1)
        await fault(writer, request, ask)

    return later


def once(first: int, fault: Fault, otherwise: Fault) -> Callable[[int], Fault]:
    """`fault` for the first request that begins there."""
    left = [fault]
    return lambda number: left.pop() if number == first and left else otherwise


async def test_while_a_platform_answers_soon_one_more_batch_after_the_other_is_on_its_way_up_to_four(
    tmp_path: Path,
) -> None:
    outbox = MemoryOutbox()
    outbox.record(200)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        plays(line, lambda _: after(0.05))
        async with shipping(outbox, line.url, max_events=10) as shipper:
            watched = Watched(shipper)
            report = await shipper.upload()
        assert (report.acked, report.batches, report.problem) == (200, 20, "")
        assert watched.at_once[:2] == [1, 1]
        assert max(watched.at_once[2:4]) == 2
        assert max(watched.at_once) == IN_FLIGHT_MAX == 4
        assert watched.firsts == list(range(1, 201, 10))
        assert await counted_ids(receiver) == outbox.ids()


async def test_a_platform_that_takes_its_time_gets_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplink.upload.SOON_MS", 10)
    outbox = MemoryOutbox()
    outbox.record(100)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        plays(line, lambda _: after(0.03))
        async with shipping(outbox, line.url, max_events=10) as shipper:
            watched = Watched(shipper)
            assert (await shipper.upload()).acked == 100
        assert set(watched.at_once) == {1}


async def test_answers_are_obeyed_in_the_order_of_the_numbers_whatever_comes_back_first(tmp_path: Path) -> None:
    class Noting(MemoryOutbox):
        async def acknowledge(self, destination: str, epoch: str, through: int, *more: Any) -> None:
            noted.append(through)
            await super().acknowledge(destination, epoch, through, *more)

    outbox, noted = Noting(), list[int]()
    outbox.record(60)
    outbox.record(1, type="electricity")
    outbox.record(59)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        plays(line, lambda first: after(0.1 if first % 40 == 11 else 0))
        async with shipping(outbox, line.url, max_events=10) as shipper:
            report = await shipper.upload()
        assert (report.acked, report.refused, report.problem) == (120, 1, "")
        assert noted == list(range(10, 121, 10))
        assert list(outbox.refused) == ["event-61"]
        assert await counted_ids(receiver) == [each for each in outbox.ids() if each != "event-61"]


FAILURES: dict[str, tuple[Fault, str]] = {
    "its answer is lost": (lost_answer(), "reset"),
    "the platform is down": (answers("503 Service Unavailable"), "unavailable"),
    "the platform wants fewer requests": (answers("429 Too Many Requests", b"", "Retry-After: 7"), "throttled"),
    "the token is refused": (answers("401 Unauthorized"), "unauthorized"),
    "a portal answers": (answers("200 OK", b"<html>", "Content-Type: text/html"), "captive_portal"),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_what_is_behind_a_batch_that_fails_is_given_up_and_sent_again_by_the_next_upload(
    tmp_path: Path, case: str
) -> None:
    fault, problem = FAILURES[case]
    outbox = MemoryOutbox()
    outbox.record(200)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        plays(line, once(101, late(fault), after(0.05)))
        async with shipping(outbox, line.url, max_events=10) as shipper:
            before = Watched(shipper)
            report = await shipper.upload()
            assert (report.problem, report.acked, outbox.acked, before.now) == (problem, 100, 100, 0)
            assert max(before.at_once) == IN_FLIGHT_MAX
            watched = Watched(shipper)
            assert (await shipper.upload()).problem == ""
        assert watched.firsts == list(range(101, 201, 10))
        assert watched.at_once[:2] == [1, 1]
        assert (outbox.acked, await counted_ids(receiver)) == (200, outbox.ids())


REFUSALS: dict[str, Fault] = {
    "a batch that is too large": answers("413 Too Large"),
    "a batch that is refused for one event": answers("422 No"),
    "data that the platform lost": answers("409 Conflict", b'{"code":"gap","expected":1}', GAP),
    "a 200 for the half of it": answers("200 OK", b'{"acked_through":105,"epoch":"epoch-1"}'),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_after_any_other_answer_the_upload_goes_on_with_one_batch_alone(tmp_path: Path, case: str) -> None:
    outbox = MemoryOutbox()
    outbox.record(200)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        plays(line, once(101, late(REFUSALS[case]), after(0.02)))
        async with shipping(outbox, line.url, max_events=10) as shipper:
            watched = Watched(shipper)
            report = await shipper.upload()
        assert (report.acked, report.problem) == (200, "")
        goes_on = next(n for n, first in enumerate(watched.firsts) if n and first <= watched.firsts[n - 1])
        assert watched.firsts[goes_on] in (1, 101, 106)
        assert max(watched.at_once[:goes_on]) == IN_FLIGHT_MAX
        assert watched.at_once[goes_on] == 1
        assert await counted_ids(receiver) == outbox.ids()


def overtakes(watched: Watched, firsts: set[int]) -> Callable[[int], Fault]:
    """These come to the platform before the batch that was on its way when they were sent, if one was."""

    def fault_of(first: int) -> Fault:
        gap = answers("409 Conflict", b'{"code":"gap","expected":%d}' % (first - 10), GAP)
        return gap if first in firsts and watched.last_sent(first)[1] > 1 else after(0.03)

    return fault_of


async def test_a_batch_that_overtook_the_one_ahead_is_sent_again_alone_and_is_no_gap(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(200)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        async with shipping(outbox, line.url, max_events=10) as shipper:
            watched = Watched(shipper)
            plays(line, overtakes(watched, {81}))
            report = await shipper.upload()
        assert (report.acked, report.problem) == (200, "")
        assert watched.firsts.count(81) == 2
        assert (min(watched.firsts[9:]), watched.last_sent(81)[1]) == (81, 1)
        assert await counted_ids(receiver) == outbox.ids()


async def test_where_batches_overtake_each_other_time_and_again_they_go_one_at_a_time(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(400)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        async with shipping(outbox, line.url, max_events=10) as shipper:
            watched = Watched(shipper)
            plays(line, overtakes(watched, set(range(1, 400, 10))))
            report = await shipper.upload()
        assert (report.acked, report.problem) == (400, "")
        assert [each.status for each in outbox.uploads].count("gap") == OVERTAKEN_MAX
        assert set(watched.at_once[-20:]) == {1}
        assert await counted_ids(receiver) == outbox.ids()


async def test_each_tells_what_waits_behind_those_on_their_way(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(200)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        plays(line, lambda _: after(0.02))
        async with shipping(outbox, line.url, max_events=10) as shipper:
            watched = Watched(shipper)
            await shipper.upload()
    assert [each.backlog for each in watched.told if each] == list(range(200, 0, -10))


async def test_what_is_sent_again_to_a_platform_that_lost_it_waits_for_nothing(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(200)
    outbox.acked = 200
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        plays(line, lambda _: after(0.02))
        async with shipping(outbox, line.url, max_events=10) as shipper:
            watched = Watched(shipper)
            await shipper.upload()
        assert await counted_ids(receiver) == outbox.ids()
    assert max(watched.at_once) == IN_FLIGHT_MAX
    assert {each.backlog for each in watched.told if each} == {0}


async def test_a_crash_while_several_are_on_their_way_counts_nothing_twice(tmp_path: Path) -> None:
    class Crashing(MemoryOutbox):
        crashes = True

        async def acknowledge(self, destination: str, epoch: str, through: int, *more: Any) -> None:
            if self.crashes and through == 60:
                raise OSError("power cut")
            await super().acknowledge(destination, epoch, through, *more)

    outbox = Crashing()
    outbox.record(200)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        plays(line, lambda _: after(0.02))
        async with shipping(outbox, line.url, max_events=10) as shipper:
            watched = Watched(shipper)
            with pytest.raises(OSError, match="power cut"):
                await shipper.upload()
        assert (outbox.acked, max(watched.at_once), watched.now) == (50, IN_FLIGHT_MAX, 0)
        outbox.crashes = False
        async with shipping(outbox, line.url, max_events=10) as restarted:
            assert (await restarted.upload()).problem == ""
        assert await counted_ids(receiver) == outbox.ids()


async def test_a_stop_lets_those_on_their_way_come_to_their_answers_and_sends_no_more(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    outbox.record(400)
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        plays(line, lambda _: after(0.1))
        async with shipping(outbox, line.url, max_events=10) as shipper:
            watched = Watched(shipper)
            upload = asyncio.create_task(shipper.upload())
            while watched.now < IN_FLIGHT_MAX:
                await asyncio.sleep(0.01)
            await shipper.stop()
            assert (await upload).problem == ""
        assert outbox.acked == 10 * len(watched.firsts) == len(await counted_ids(receiver))


async def test_what_was_on_its_way_is_signed_anew_when_it_is_sent_again(tmp_path: Path) -> None:
    """Else the platform would take it for a request that somebody recorded."""
    outbox = MemoryOutbox(site=SITE)
    outbox.record(4000)
    async with platform_at(tmp_path) as receiver, line_to(receiver) as line:
        store = await SqliteStore.open(str(tmp_path / "receiver.db"))
        await give_token(store)
        await store.close()
        await enrol_at(receiver.url, tmp_path)
        plays(line, once(1001, after(0.2, lost_answer()), after(0.01)))
        async with enrolled_shipping(outbox, line.url, tmp_path) as shipper:
            assert (await shipper.upload()).problem == "reset"
            assert (await shipper.upload()).problem == ""
    assert outbox.acked == 4000
    assert {each.status for each in outbox.uploads} == {"acknowledged", "reset", "duplicate"}


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_becomes_of_those_on_their_way_each_event_arrives_once(tmp_path: Path, seed: int) -> None:
    random, outbox = Random(seed), MemoryOutbox()
    gap = answers("409 Conflict", b'{"code":"gap","expected":1}', GAP)
    faults = [lost_answer(), lost_answer(190), answers("503 No"), answers("413 No"), answers("422 No"), gap]

    def fault_of(_: int) -> Fault:
        delay_s = random.choice((0, 0, 0.002, 0.02))
        return random.choice(faults) if random.random() < 0.06 else after(delay_s)

    async with receiver_at(tmp_path) as receiver, line_to(receiver) as line:
        plays(line, fault_of)
        for _ in range(4):
            outbox.record(random.randrange(150))
            async with shipping(outbox, line.url, max_events=random.choice((3, 10))) as shipper:
                await shipper.upload()
                assert (await counted_ids(receiver))[: outbox.acked] == outbox.ids()[: outbox.acked]
        line.faults = []
        async with shipping(outbox, line.url, max_events=10) as shipper:
            assert (await shipper.upload()).problem == ""
        assert outbox.acked == len(outbox.made)
        assert await counted_ids(receiver) == [each for each in outbox.ids() if each not in outbox.refused]
