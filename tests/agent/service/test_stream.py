"""With `stream` an event is at the platform within seconds: a real ledger, a real receiver, the time between them."""

import asyncio
import time
from pathlib import Path

from agent.config.tables import Ledger as LedgerSettings
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.writer import Ledger
from collectors.contract import Batch
from tests.agent.ledger.desk import KIND, METERING, SITE, row
from tests.uplink.platform import TOKEN, held, receiver_at
from uplink.destinations import PegcountHttp, PegcountSettings
from uplink.schedule import Schedule
from uplink.shipper import Pace, Shipper
from uplink.timing import Timing
from uplink.uploader import UploadReport

CALLS = 30
WITHIN_S = 5.0


async def test_in_stream_mode_each_call_is_at_the_platform_within_five_seconds_of_its_record(tmp_path: Path) -> None:
    ledger = Ledger.open(LedgerSettings(path=f"{tmp_path}/ledger.db"), SITE, METERING)
    ledger.add_source("desk", KIND, 0)
    outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
    handed_in_s: dict[str, float] = {}
    acknowledged_s: list[float] = []

    async def told(report: UploadReport) -> None:
        acknowledged_s.extend([time.monotonic()] * report.acked)

    async with receiver_at(tmp_path) as receiver:
        destination = PegcountHttp(PegcountSettings(url=receiver.url, token=TOKEN), SITE.id)
        schedule = Schedule(
            Shipper("platform", outbox, destination, Pace()), Timing(interval_s=3600, jitter_s=0, stream=True), told
        )
        await schedule.start()
        ledger.on_events(schedule.notice)

        async def call(number: int) -> None:
            await asyncio.sleep(number * 0.13)
            handed_in_s[str(100 + number)] = time.monotonic()
            leg = row(f"c{number}", caller=str(100 + number), callee="900", start_s=number)
            await ledger.sink("desk").put(Batch(records=[leg], checkpoint=b""))

        await asyncio.gather(*(call(number) for number in range(CALLS)))
        await asyncio.sleep(WITHIN_S / 2)
        arrived = await held(receiver, SITE.id)
        await schedule.stop()
        await destination.close()
    outbox.close()
    await asyncio.to_thread(ledger.close)
    calls = [each["event"] for each in arrived if each["event"]["type"] == "call"]
    took_s = [acknowledged_s[int(each["sequence"]) - 1] - handed_in_s[each["subject"]] for each in calls]
    assert len(took_s) == CALLS
    assert max(took_s) <= WITHIN_S, took_s
