"""Lanes: what waits goes together, a site's batches one after the other, and what fails takes nobody with it."""

import asyncio
from collections import Counter

import pytest

from tests.uplink.receiver.test_booking import incoming
from uplink.receiver.placing import Append
from uplink.receiver.storage import Appended, Incoming, StoreUnavailable
from uplink.receiver.storage.lanes import GROUP_MAX, Lanes

DONE = Appended(placement=Append())


class Desk:
    """Books when it is let to, and keeps what came together. `odd`: sites that cannot go with others."""

    def __init__(self, lanes: int, odd: frozenset[str] = frozenset()) -> None:
        self.lanes = Lanes(lanes, self._together, self._alone)
        self.groups: list[list[tuple[str, int]]] = []
        self.alone: list[str] = []
        self.open = asyncio.Event()
        self._odd = odd
        self._numbers: Counter[str] = Counter()

    async def _together(self, group: list[Incoming]) -> list[Appended | StoreUnavailable | None]:
        self.groups.append([(each.site, each.head.first) for each in group])
        await self.open.wait()
        return [None if each.site in self._odd else DONE for each in group]

    async def _alone(self, incoming: Incoming) -> Appended | StoreUnavailable:
        self.alone.append(incoming.site)
        return StoreUnavailable("held")

    async def send(self, *sites: str) -> "list[asyncio.Task[Appended]]":
        """One batch of each, numbered by how many of its site came before."""
        tasks = []
        for site in sites:
            self._numbers[site] += 1
            tasks.append(asyncio.create_task(self.lanes.append(incoming(site, "original", self._numbers[site], 1))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return tasks


async def test_what_waits_while_a_lane_is_busy_goes_together_and_each_site_in_its_order() -> None:
    desk = Desk(1)
    sent = [*await desk.send("a", "b", "a"), *await desk.send("c", "a")]
    desk.open.set()
    assert await asyncio.gather(*sent) == [DONE] * 5
    assert desk.groups == [[("a", 1), ("b", 1)], [("c", 1), ("a", 2)], [("a", 3)]]


async def test_lanes_work_side_by_side_on_different_sites() -> None:
    desk = Desk(2)
    sent = [*await desk.send("a"), *await desk.send("a", "b"), *await desk.send("c")]
    assert desk.groups == [[("a", 1)], [("b", 1)]]
    desk.open.set()
    await asyncio.gather(*sent)
    assert desk.groups == [[("a", 1)], [("b", 1)], [("c", 1), ("a", 2)]]


async def test_a_group_is_bounded() -> None:
    desk = Desk(1)
    sent = await desk.send(*(f"s{number}" for number in range(GROUP_MAX + 3)))
    desk.open.set()
    await asyncio.gather(*sent)
    assert [len(group) for group in desk.groups] == [GROUP_MAX, 3]


async def test_who_cannot_go_with_others_goes_alone_and_holds_up_its_own_site_only() -> None:
    desk = Desk(1, odd=frozenset({"a"}))
    desk.open.set()
    a, b = await desk.send("a", "b")
    assert await b == DONE
    with pytest.raises(StoreUnavailable, match="held"):
        await a
    assert desk.alone == ["a"]


async def test_closing_waits_for_what_is_queued() -> None:
    desk = Desk(1)
    sent = await desk.send("a", "a", "b")
    desk.open.set()
    await desk.lanes.close()
    assert [task.result() for task in sent] == [DONE] * 3


async def test_a_fault_that_nobody_foresaw_is_an_answer_too() -> None:
    async def broken(_group: list[Incoming]) -> list[Appended | StoreUnavailable | None]:
        raise ZeroDivisionError

    async def alone(_incoming: Incoming) -> Appended | StoreUnavailable:
        return DONE

    lanes = Lanes(1, broken, alone)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    for _ in range(2):
        sent = [lanes.append(incoming(site, "original", 1, 1)) for site in ("a", "a", "b")]
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        assert [type(each) for each in outcomes] == [StoreUnavailable] * 3
