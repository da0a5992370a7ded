"""What every storage does with batches, as an agent and a reader see it: one set of checks for all of them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.uplink.platform import counted_ids, fetch, held
from tests.uplink.receiver.batches import TEN, batch_of, events, post
from tests.uplink.receiver.storages import Place, Platform, running_platform
from tests.uplink.site import START, chain_of, event_body
from uplink.batch import build, withhold


@pytest.fixture
async def receiver(storage: Place) -> AsyncIterator[Platform]:
    async with running_platform(storage) as platform:
        yield platform


async def test_a_batch_is_stored_and_acknowledged(receiver: Platform) -> None:
    status, document = await post(receiver, batch_of(TEN, 1, 10))
    assert status == 200
    assert (document["acked_through"], document["epoch"], document["duplicate"]) == (10, "e-1", False)
    assert [each["event"]["sequence"] for each in await held(receiver)] == [str(seq) for seq in range(1, 11)]


async def test_what_is_stored_is_what_was_sent_to_the_byte(receiver: Platform) -> None:
    spaced = [b'{ "odd" :1}', *events("e-1", 2, 2, subject="Æ \\u00e6 ☎")]
    await post(receiver, batch_of(spaced, 1, 2))
    assert [each.body for each in await receiver.store.events("site-1", 0, 9)] == spaced


async def test_the_same_batch_again_is_a_duplicate_and_counts_nothing(receiver: Platform) -> None:
    await post(receiver, batch_of(TEN, 1, 10))
    status, document = await post(receiver, batch_of(TEN, 1, 10))
    assert (status, document["duplicate"], document["acked_through"]) == (200, True, 10)
    assert len(await counted_ids(receiver)) == 10


async def test_b10_another_cut_of_the_same_events_is_recognised(receiver: Platform) -> None:
    await post(receiver, batch_of(TEN, 1, 7))
    inside, over, rest = batch_of(TEN, 3, 5), batch_of(TEN, 5, 9), batch_of(TEN, 1, 10)
    assert (await post(receiver, inside))[1]["duplicate"] is True
    assert (await post(receiver, over))[1]["acked_through"] == 9
    assert (await post(receiver, rest))[1]["acked_through"] == 10
    assert await counted_ids(receiver) == [f"event-{seq}" for seq in range(1, 11)]


async def test_a_gap_is_answered_with_the_number_that_is_next(receiver: Platform) -> None:
    await post(receiver, batch_of(TEN, 1, 3))
    status, document = await post(receiver, batch_of(TEN, 6, 8))
    assert (status, document["code"], document["expected"]) == (409, "gap", 4)


async def test_c14_other_content_under_known_numbers_is_a_conflict(receiver: Platform) -> None:
    await post(receiver, batch_of(TEN, 1, 5))
    twin = TEN[:3] + events("e-1", 4, 10, quantity="7")
    for first, last in ((1, 5), (4, 8), (6, 8)):
        status, document = await post(receiver, batch_of(twin, first, last))
        assert (status, document["code"]) == (409, "conflict")
    assert len(await counted_ids(receiver)) == 5


async def test_c14_a_heartbeat_of_a_ledger_that_went_back_is_a_conflict(receiver: Platform) -> None:
    await post(receiver, batch_of(TEN, 1, 8))
    assert (await post(receiver, batch_of(TEN, 9, 8)))[0] == 200
    status, document = await post(receiver, batch_of(TEN, 6, 5))
    assert (status, document["code"]) == (409, "conflict")


async def test_a_heartbeat_of_a_new_site_is_taken(receiver: Platform) -> None:
    status, document = await post(receiver, batch_of([], 1, 0))
    assert (status, document["acked_through"]) == (200, 0)
    (epoch,) = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
    assert (epoch["epoch"], epoch["acked_through"]) == ("e-1", 0)


async def test_d4_sites_and_epochs_do_not_share_numbers(receiver: Platform) -> None:
    await post(receiver, batch_of(TEN, 1, 10))
    other_site, other_epoch = events("e-1", 1, 4, site="site-2"), events("e-2", 1, 3, time="2026-12-01T00:00:00Z")
    assert (await post(receiver, batch_of(other_site, 1, 4), site="site-2"))[1]["acked_through"] == 4
    assert (await post(receiver, batch_of(other_epoch, 1, 3, epoch="e-2")))[1]["acked_through"] == 3
    assert len(await counted_ids(receiver)) == 13
    assert len(await counted_ids(receiver, "site-2")) == 4


async def test_b11_a_bad_event_is_refused_alone_and_blocks_nothing(receiver: Platform) -> None:
    mixed = TEN[:3] + events("e-1", 4, 4, type="electricity") + [b'{"no":"event"}'] + TEN[5:]
    status, document = await post(receiver, batch_of(mixed, 1, 10))
    assert (status, document["acked_through"]) == (200, 10)
    results = [(each["seq"], each["status"], each["code"], each["retry"]) for each in document["results"]]
    assert results == [(4, "rejected", "unknown_type", False), (5, "rejected", "not_an_event", False)]
    assert [each["status"] for each in await held(receiver)].count("rejected") == 2
    assert len(await counted_ids(receiver)) == 8


async def test_c4_a_duplicate_tells_the_refusals_again(receiver: Platform) -> None:
    mixed = TEN[:3] + events("e-1", 4, 4, type="electricity")
    first = await post(receiver, batch_of(mixed, 1, 4))
    again = await post(receiver, batch_of(mixed, 1, 4))
    assert again[1]["results"] == first[1]["results"] != []


async def test_a_withheld_event_keeps_the_chain_whole(receiver: Platform) -> None:
    await post(receiver, batch_of(TEN, 1, 4))
    stated = withhold(batch_of(TEN, 5, 5).head, TEN[4], "too_large")
    for _ in range(2):
        status, document = await post(receiver, build(stated, []))
        assert (status, document["acked_through"]) == (200, 5)
        assert [(each["seq"], each["code"]) for each in document["results"]] == [(5, "too_large")]
    assert (await post(receiver, batch_of(TEN, 6, 10)))[1]["acked_through"] == 10
    assert (await post(receiver, batch_of(TEN, 6, 8)))[1]["duplicate"] is True
    assert len(await counted_ids(receiver)) == 9


async def test_a_new_epoch_does_not_count_again_what_an_earlier_one_counted(receiver: Platform) -> None:
    old = events("e-1", 1, 1, id="a", time="2026-11-20T10:00:00Z") + events(
        "e-1", 2, 2, id="b", time="2026-11-20T11:00:00Z"
    )
    await post(receiver, batch_of(old, 1, 2))
    new = (
        events("e-2", 1, 1, id="b", time="2026-11-20T11:00:00Z")
        + events("e-2", 2, 2, id="c", time="2026-11-20T10:30:00Z")
        + events("e-2", 3, 3, id="d", time="2026-11-20T12:00:00Z")
    )
    sent = batch_of(new, 1, 3, epoch="e-2", after_epoch="e-1", after_chain=chain_of(old))
    _, document = await post(receiver, sent)
    # A log finds out what is known when it is booked.
    known = [] if receiver.is_log else [(1, "known")]
    assert [(each["seq"], each["status"]) for each in document["results"]] == known
    assert await counted_ids(receiver) == ["a", "b", "c", "d"]
    (total,) = (await fetch(receiver, "/v1/sites/site-1/totals"))["totals"]
    assert (total["quantity"], total["events"]) == ("0.4", 4)
    epochs = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
    assert [(each["continues"], each["counted"], each["known"]) for each in epochs] == [("first", 2, 0), ("yes", 2, 1)]


async def test_an_epoch_that_names_another_past_is_noted(receiver: Platform) -> None:
    await post(receiver, batch_of(TEN, 1, 2))
    other = batch_of(events("e-2", 1, 1), 1, 1, epoch="e-2", after_epoch="e-1", after_chain=START)
    assert (await post(receiver, other))[0] == 200
    assert (await post(receiver, batch_of(events("e-3", 1, 1), 1, 1, epoch="e-3")))[0] == 200
    epochs = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
    assert [each["continues"] for each in epochs] == ["first", "no", "unnamed"]


async def test_totals_are_exact_and_corrections_net(receiver: Platform) -> None:
    quantities = ["0.1"] * 10 + ["123456789012345678", "-0.000000000001", "-0.9"]
    history = [event_body("site-1", "e-1", seq, quantity=quantity) for seq, quantity in enumerate(quantities, 1)]
    await post(receiver, batch_of(history, 1, 10))
    await post(receiver, batch_of(history, 11, 13))
    (total,) = (await fetch(receiver, "/v1/sites/site-1/totals"))["totals"]
    assert (total["meter"], total["unit"], total["events"]) == ("voice.minutes", "minute", 13)
    assert total["quantity"] == "123456789012345678.099999999999"


async def test_totals_come_by_day(receiver: Platform) -> None:
    history = [
        event_body("site-1", "e-1", 1, time="2026-11-20T23:59:59.999Z"),
        event_body("site-1", "e-1", 2, time="2026-11-21T00:00:00Z", quantity="2"),
        event_body("site-1", "e-1", 3, time="2026-11-20T12:00:00Z", type="call", quantity="1"),
    ]
    await post(receiver, batch_of(history, 1, 3))

    async def rows(query: str) -> list[tuple[str, str, str]]:
        totals = (await fetch(receiver, f"/v1/sites/site-1/totals{query}"))["totals"]
        return [(each["day"], each["meter"], each["quantity"]) for each in totals]

    assert await rows("") == [("", "call", "1"), ("", "voice.minutes", "2.1")]
    assert await rows("?day=2026-11-21") == [("2026-11-21", "voice.minutes", "2")]
    assert await rows("?by=day") == [
        ("2026-11-20", "call", "1"),
        ("2026-11-20", "voice.minutes", "0.1"),
        ("2026-11-21", "voice.minutes", "2"),
    ]


async def test_c6_events_of_two_months_ago_are_counted_and_called_late(receiver: Platform) -> None:
    old = events("e-1", 1, 3, time="2020-01-01T00:00:00Z")
    _, document = await post(receiver, batch_of(old, 1, 3))
    assert (document["late"], len(await counted_ids(receiver))) == (True, 3)


async def test_c12_a_clock_that_is_wrong_is_noted_and_changes_nothing(receiver: Platform) -> None:
    future = events("e-1", 1, 1, time="2099-01-01T00:00:00Z")
    assert (await post(receiver, batch_of(future, 1, 1, head_time_s=4_070_908_800)))[0] == 200
    (epoch,) = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
    assert epoch["skew_ms"] > 27 * 3_600_000
    assert len(await counted_ids(receiver)) == 1


async def test_events_are_listed_in_pages(receiver: Platform) -> None:
    await post(receiver, batch_of(TEN, 1, 10))
    first = await fetch(receiver, "/v1/sites/site-1/events?limit=4")
    second = await fetch(receiver, f"/v1/sites/site-1/events?limit=99&after={first['next']}")
    listed = [each["seq"] for page in (first, second) for each in page["events"]]
    assert listed == list(range(1, 11))
    assert (await fetch(receiver, f"/v1/sites/site-1/events?after={second['next']}"))["events"] == []


async def test_batches_that_come_together_are_committed_together_and_answered_apart(receiver: Platform) -> None:
    histories = {f"site-{number}": events("e-1", 1, 5, site=f"site-{number}") for number in range(40)}
    answers = await asyncio.gather(
        *(post(receiver, batch_of(each, 1, 5), site=site) for site, each in histories.items())
    )
    assert [(status, document["acked_through"]) for status, document in answers] == [(200, 5)] * 40
