"""With `stream` a call is at the platform within seconds of its BYE: the whole agent, HEP on a real socket, a real receiver."""

import asyncio
import socket
import time
from pathlib import Path

from agent.config.tables import Config, Source, Web
from agent.config.tables import Ledger as LedgerSettings
from agent.service import Agent
from collectors.hep.config import HepConfig
from tests.agent.ledger.desk import METERING, SITE
from tests.collectors.hep.calls import RING_S, TALK_S, beginning, end
from tests.uplink.platform import TOKEN, held, receiver_at
from uplink.destinations import PegcountSettings
from uplink.uploader import UploadReport

CALLERS = range(110, 140)
WITHIN_S = 5.0


async def test_in_stream_mode_each_call_is_at_the_platform_within_five_seconds_of_its_bye(tmp_path: Path) -> None:
    over_s: dict[str, float] = {}
    acknowledged_s: list[float] = []

    async def told(report: UploadReport) -> None:
        acknowledged_s.extend([time.monotonic()] * report.acked)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phones:
        phones.bind(("127.0.0.1", 0))
        address = phones.getsockname()
    async with receiver_at(tmp_path) as receiver:
        config = Config(
            site=SITE,
            metering=METERING,
            ledger=LedgerSettings(path=str(tmp_path / "ledger.db")),
            sources=(Source("pbx", "hep", HepConfig(listen=f"127.0.0.1:{address[1]}")),),
            uplink=PegcountSettings(url=receiver.url, token=TOKEN, interval_s=3600, jitter_s=0, stream=True),
            web=Web(enabled=False),
        )
        agent = Agent(config, told)
        await agent.start()
        await asyncio.sleep(1)

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phones:

            async def call(caller: int) -> None:
                """Of a minute, that ends now."""
                await asyncio.sleep((caller - CALLERS[0]) * 0.13)
                at_s = time.time() - RING_S - TALK_S
                for datagram in (*beginning(caller, at_s), *end(caller, at_s)):
                    phones.sendto(datagram.replace(b"sip:101@", b"sip:%d@" % caller), address)
                over_s[str(caller)] = time.monotonic()

            await asyncio.gather(*(call(caller) for caller in CALLERS))
        await asyncio.sleep(WITHIN_S)
        arrived = await held(receiver, SITE.id)
        await agent.stop()
    calls = [each["event"] for each in arrived if each["event"]["type"] == "call"]
    took_s = sorted(acknowledged_s[int(each["sequence"]) - 1] - over_s[each["subject"]] for each in calls)
    assert len(took_s) == len(CALLERS)
    assert took_s[-1] <= WITHIN_S, took_s
