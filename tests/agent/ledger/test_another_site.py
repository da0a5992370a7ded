"""A ledger whose events name another site than the configuration does: nothing is billed to both, or lost before enrolment."""

import asyncio
from pathlib import Path

import msgspec

from agent.config.tables import Ledger as LedgerSettings
from agent.ledger import another_site
from agent.ledger.another_site import Before
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.proving import Period, prove
from agent.ledger.store import open_for_reading
from agent.ledger.writer import Ledger
from agent.metering.rules import Site
from collectors.contract import Batch
from tests.agent.ledger.desk import KIND, METERING, SITE, row
from tests.uplink.platform import TOKEN, fetch, held, receiver_at
from uplink.destinations import PegcountHttp, PegcountSettings
from uplink.shipper import Pace, Shipper

PLACEHOLDER = msgspec.structs.replace(SITE, id="00000000-0000-4000-8000-000000000000")


class Office:
    """A ledger that is opened as one site or another, as often as its agent is started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def start(self, site: Site) -> Before | None:
        self.site = site
        self.ledger = Ledger.open(LedgerSettings(path=f"{self.folder}/ledger.db"), site, METERING)
        self.ledger.add_source("desk", KIND, 0)
        return self.ledger.do(lambda db: another_site.settle(db, self.ledger, site.id)).result()

    async def hear(self, name: str) -> None:
        await self.ledger.sink("desk").put(Batch(records=[row(name)], checkpoint=b""))

    async def upload(self, url: str) -> str:
        outbox = LedgerOutbox(self.ledger, self.site.id, self.site.urn)
        destination = PegcountHttp(PegcountSettings(url=url, token=TOKEN), self.site.id)
        try:
            return (await Shipper("platform", outbox, destination, Pace()).upload()).problem
        finally:
            await destination.close()
            outbox.close()

    async def stop(self) -> None:
        await asyncio.to_thread(self.ledger.close)

    def proves_itself(self) -> int:
        """How many events of the present site hold."""
        reader = open_for_reading(self.folder / "ledger.db")
        try:
            return prove(reader, self.site.id, Period()).events
        finally:
            reader.close()


async def test_what_was_counted_before_the_enrolment_is_told_as_the_enrolled_sites(tmp_path: Path) -> None:
    office = Office(tmp_path)
    assert await office.start(PLACEHOLDER) is None
    await office.hear("before")
    await office.stop()
    async with receiver_at(tmp_path) as receiver:
        assert await office.start(SITE) == Before(PLACEHOLDER.id, 0)
        await office.hear("after")
        assert await office.upload(receiver.url) == ""
        events = await held(receiver, SITE.id)
        assert {each["status"] for each in events} == {"counted"}
        assert [each["event"]["type"] for each in events].count("call") == 2
        (epoch,) = (await fetch(receiver, f"/v1/sites/{SITE.id}"))["epochs"]
        assert epoch["continues"] == "first"
        await office.stop()
    assert office.proves_itself() == len(events)
    assert await office.start(SITE) is None
    await office.stop()


async def test_a_site_that_has_reported_keeps_its_events_when_the_ledger_goes_on_as_another_one(tmp_path: Path) -> None:
    office = Office(tmp_path)
    async with receiver_at(tmp_path) as receiver:
        await office.start(PLACEHOLDER)
        await office.hear("told")
        assert await office.upload(receiver.url) == ""
        told = len(await held(receiver, PLACEHOLDER.id))
        await office.hear("waits")
        await office.stop()
        before = await office.start(SITE)
        assert before is not None
        assert (before.site, before.left > 0) == (PLACEHOLDER.id, True)
        await office.stop()
        assert await office.start(SITE) is None  # nothing new: the same epoch
        await office.hear("after")
        assert await office.upload(receiver.url) == ""
        events = await held(receiver, SITE.id)
        assert {each["status"] for each in events} == {"counted"}
        assert [each["event"]["type"] for each in events].count("call") == 1
        assert len(await held(receiver, PLACEHOLDER.id)) == told
        await office.stop()
    assert office.proves_itself() == len(events)
