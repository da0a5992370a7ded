"""The forwarder before destinations of every temper: each event is taken once, or in quarantine with its reason."""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.uplink.feed import MemoryFeed
from tests.uplink.platform import Clock
from uplink.feed import Item
from uplink.forwarder import REFUSED_IN_A_ROW, Forwarder
from uplink.outbox import Refusal
from uplink.taker import Event, Failed, Limits, Names, Outcome, Refused, Taken, TooLarge


class Shelf:
    """A destination in memory that knows events by their ids. `judge` may say something else before it takes them."""

    def __init__(self, judge: Callable[[Sequence[Event]], Outcome | None], limits: Limits) -> None:
        self.limits = limits
        self.judge = judge
        self.seen: Counter[str] = Counter()
        self.requests: list[int] = []

    async def send(self, events: Sequence[Event]) -> Outcome:
        self.requests.append(len(events))
        outcome = self.judge(events)
        if outcome is None or isinstance(outcome, Taken):
            out = {refusal.seq for refusal in outcome.refused} if outcome else set()
            self.seen.update(event.id for event in events if event.position not in out)
        return outcome or Taken()

    async def close(self) -> None: ...


def forwarder(
    feed: MemoryFeed,
    judge: Callable[[Sequence[Event]], Outcome | None] = lambda _: None,
    names: Names = Names(),  # noqa: B008 - frozen
    max_events: int = 100,
) -> tuple[Forwarder, Shelf]:
    shelf = Shelf(judge, Limits(max_events=max_events))
    return Forwarder("shelf", feed, shelf, names, 900_000, Clock(), Random(1)), shelf


def refuse(*ids: str) -> Callable[[Sequence[Event]], Outcome | None]:
    return lambda events: Refused(code="bad", message="no") if any(event.id in ids for event in events) else None


async def test_everything_is_sent_in_order_and_once() -> None:
    feed = MemoryFeed(gap=3)
    feed.record(250)
    loop, shelf = forwarder(feed)
    report = await loop.upload()
    assert (report.sent, report.acked, report.problem, shelf.requests) == (250, 250, "", [100, 100, 50])
    assert list(shelf.seen) == feed.ids()
    assert feed.through == 750
    assert [(each.first, each.last, each.count) for each in feed.uploads] == [
        (3, 300, 100),
        (303, 600, 100),
        (603, 750, 50),
    ]
    assert (await loop.upload()).sent == 0


@given(st.sets(st.integers(1, 60), max_size=6), st.integers(1, 40))
async def test_bad_events_go_to_quarantine_alone_and_all_others_arrive(bad: set[int], max_events: int) -> None:
    feed = MemoryFeed()
    feed.record(60)
    loop, shelf = forwarder(feed, refuse(*(f"event-{n}" for n in bad)), max_events=max_events)
    report = await loop.upload()
    assert report.problem == ""
    assert feed.refused_ids() == [f"event-{n}" for n in sorted(bad)]
    assert set(shelf.seen) == set(feed.ids()) - set(feed.refused_ids())
    assert set(shelf.seen.values()) <= {1}
    assert feed.through == 60


async def test_what_a_destination_names_as_refused_is_not_sent_again() -> None:
    feed = MemoryFeed()
    feed.record(10)
    loop, shelf = forwarder(feed, lambda events: Taken(refused=(Refusal(seq=events[3].position, code="unknown"),)))
    await loop.upload()
    assert (feed.refused_ids(), shelf.requests, feed.through) == (["event-4"], [10], 10)


async def test_a_request_that_is_too_large_is_halved_and_the_next_ones_stay_small() -> None:
    feed = MemoryFeed()
    feed.record(100)
    loop, shelf = forwarder(feed, lambda events: TooLarge() if len(events) > 30 else None)
    assert (await loop.upload()).problem == ""
    assert shelf.requests == [100, 50, 25, 25, 25, 25]
    assert not feed.refused


async def test_one_event_that_is_too_large_is_put_aside() -> None:
    feed = MemoryFeed()
    feed.record(3)
    loop, _ = forwarder(feed, lambda events: TooLarge() if any(event.id == "event-2" for event in events) else None)
    await loop.upload()
    assert {position: refusal.code for position, refusal in feed.refused.items()} == {2: "too_large"}
    assert feed.through == 3


@pytest.mark.parametrize("slow", [True, False])
async def test_a_failure_keeps_everything_and_waits(slow: bool) -> None:
    feed = MemoryFeed()
    feed.record(5)
    loop, _ = forwarder(feed, lambda _: Failed(code="unauthorized", detail="no", slow=slow))
    report = await loop.upload()
    assert (report.problem, feed.through, feed.refused) == ("unauthorized", 0, {})
    due_ms = await loop.due_at_ms() - loop.clock_ms()
    assert 450_000 <= due_ms <= 900_000 if slow else 1_000 <= due_ms <= 4_000
    assert [each.problem.code for each in loop.problems()] == ["unauthorized"]


async def test_it_comes_again_when_the_destination_said() -> None:
    feed = MemoryFeed()
    feed.record(1)
    loop, _ = forwarder(feed, lambda _: Failed(code="throttled", retry_after_ms=120_000))
    await loop.upload()
    assert 120_000 <= await loop.due_at_ms() - loop.clock_ms() <= 132_000


async def test_a_setting_that_has_everything_refused_does_not_empty_the_ledger_into_quarantine() -> None:
    feed = MemoryFeed()
    feed.record(200)
    loop, shelf = forwarder(feed, lambda _: Refused(code="refused_400"), max_events=8)
    assert (await loop.upload()).problem == "everything_refused"
    assert len(feed.refused) == REFUSED_IN_A_ROW
    await loop.upload()
    assert len(feed.refused) == REFUSED_IN_A_ROW + 1
    shelf.judge = lambda _: None
    assert (await loop.upload()).problem == ""
    assert len(shelf.seen) == 200 - REFUSED_IN_A_ROW - 1
    assert [each.problem.code for each in loop.problems()] == ["events_refused"]


async def test_names_of_meters_and_subjects_are_those_of_the_destination() -> None:
    feed = MemoryFeed()
    feed.record(1, type="call")
    feed.record(1, type="voice.minutes")
    feed.record(1, type="feature.use")
    feed.record(1, type="risk.scanner")
    names = Names(meters={"call": "calls", "feature.use": ""}, subjects={"101": "cus_1"}, subject="{site}:{subject}")
    sent: list[tuple[str, str]] = []
    loop, _ = forwarder(feed, lambda events: sent.extend((e.type, e.subject) for e in events), names)
    await loop.upload()
    assert sent == [("calls", "cus_1"), ("voice.minutes", "cus_1")]
    assert feed.through == 4
    assert Names(subject="{site}:{subject}").named("102", "urn:x:site:abc") == "abc:102"
    assert Names(unlisted=False, meters={"call": "c"}).meter("voice.minutes") == ""


async def test_stored_bytes_that_are_no_event_are_told_and_hold_nothing_up() -> None:
    feed = MemoryFeed()
    feed.record(1)
    feed.items.append(Item(2, b"\x00garbage"))
    feed.items.append(Item(3, feed.items[0].body.replace(b"event-1", b"event-3")))
    loop, shelf = forwarder(feed)
    await loop.upload()
    assert list(shelf.seen) == ["event-1", "event-3"]
    assert feed.refused[2].code == "not_an_event"


async def test_a_stop_ends_between_two_requests() -> None:
    feed = MemoryFeed()
    feed.record(300)
    loop, shelf = forwarder(feed)
    shelf.judge = lambda _: setattr(loop, "stopping", True)
    await loop.upload()
    assert (shelf.requests, feed.through) == ([100], 100)


async def test_outside_its_hours_nothing_is_sent_but_what_a_person_asks_for() -> None:
    feed = MemoryFeed()
    feed.record(3)
    loop, shelf = forwarder(feed)
    loop.may_send = lambda: False
    assert (await loop.upload()).sent == 0
    assert (await loop.upload(asked=True)).acked == 3
    feed.record(1)
    assert (await loop.upload()).sent == 0
    assert shelf.requests == [3]
