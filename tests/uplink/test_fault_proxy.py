"""Agent and platform with a line between them that fails in every way: a real ledger, the real receiver, real TCP and TLS.

The oracle of all of them: each event that the ledger has is at the platform exactly once, in order, in the end; and until then
nothing is acknowledged that the platform does not have.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config.tables import Ledger as LedgerSettings
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.store import open_for_reading
from agent.ledger.writer import Ledger
from collectors.contract import Batch
from tests.agent.ledger.desk import KIND, METERING, NOON_MS, SITE, row
from tests.uplink.fault_proxy import (
    HTML,
    Certificate,
    CutAnswer,
    CutRequest,
    Fault,
    FaultProxy,
    Hang,
    Pass,
    Say,
    Swallow,
    answer,
    certificate,
    fault_proxy,
)
from tests.uplink.platform import AUTHORIZATION, TOKEN, TOKENS, Clock
from uplink.destinations import PegcountHttp, PegcountSettings
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.shipper import Pace, Shipper
from uplink.uploader import UploadReport, wall_clock_ms

GONE = "https://platform.invalid"
"""A name that no server knows (RFC 6761 section 6.4)."""
FALSE_200 = b'{"acked_through": 1000000, "epoch": "mine", "results": []}'


class Site:
    """An office whose agent may be restarted at any time."""

    def __init__(self, folder: Path, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        self.folder = folder
        self.clock_ms = clock_ms
        self.calls = 0
        self.open()

    def open(self) -> None:
        kept = LedgerSettings(path=str(self.folder / "ledger.db"), retention_days=1)
        self.ledger = Ledger.open(kept, SITE, METERING, self.clock_ms)
        self.ledger.add_source("desk", KIND, 0)
        self.outbox = LedgerOutbox(self.ledger, SITE.id, SITE.urn)

    async def close(self) -> None:
        self.outbox.close()
        await asyncio.to_thread(self.ledger.close)

    async def restart(self) -> None:
        await self.close()
        self.open()

    async def record(self, calls: int, at_s: float = 0) -> None:
        rows = [row(f"c{self.calls + n}", start_s=at_s + self.calls + n) for n in range(calls)]
        self.calls += calls
        await self.ledger.sink("desk").put(Batch(records=rows, checkpoint=b""))

    def ids(self) -> list[str]:
        db = open_for_reading(self.ledger.path)
        try:
            return [json.loads(body)["id"] for (body,) in db.execute("SELECT body FROM event ORDER BY line")]
        finally:
            db.close()

    async def upload(self, url: str, ca_file: str, max_events: int = 1000, timeout_s: float = 10.0) -> UploadReport:
        destination = PegcountHttp(
            PegcountSettings(url=url, token=TOKEN, ca_file=ca_file, timeout_s=timeout_s), SITE.id
        )
        try:
            pace = Pace(max_events=max_events)
            return await Shipper("platform", self.outbox, destination, pace, self.clock_ms).upload()
        finally:
            await destination.close()

    async def acknowledged(self) -> int:
        return (await self.outbox.cursor("platform")).acked_through


async def at_the_platform(running: RunningReceiver, good: Certificate) -> list[str]:
    ids: list[str] = []
    after = 0
    async with aiohttp.ClientSession(headers=AUTHORIZATION) as session:
        while True:
            url = f"{running.url}/v1/sites/{SITE.id}/events?after={after}&limit=700"
            async with session.get(url, ssl=False) as response:
                page = json.loads(await response.read())
            if not page["events"]:
                return ids
            assert {each["status"] for each in page["events"]} == {"counted"}
            ids += [each["event"]["id"] for each in page["events"]]
            after = page["next"]


@asynccontextmanager
async def office(
    folder: Path, tls: bool, clock_ms: Callable[[], int] = wall_clock_ms
) -> AsyncIterator[tuple[Site, RunningReceiver, FaultProxy, Certificate]]:
    good = certificate(folder, datetime.now(UTC) + timedelta(days=365))
    expired = certificate(folder, datetime.now(UTC) - timedelta(days=365))
    Path(good.certificate).write_bytes(Path(good.certificate).read_bytes() + Path(expired.certificate).read_bytes())
    shown = {"certificate": good.certificate, "key": good.key} if tls else {}
    running = await serve(ReceiverSettings(database=str(folder / "receiver.db"), tokens=TOKENS, port=0, **shown))
    site = Site(folder, clock_ms)
    try:
        async with fault_proxy(running.url, expired.context()) as proxy:
            yield site, running, proxy, good
    finally:
        await site.close()
        await running.close()


@pytest.fixture(autouse=True)
def quick_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.ledger.writer.COMMIT_EVERY_S", 0.01)


CASES: dict[str, tuple[Fault, str]] = {
    "the request is cut before it began": (CutRequest(0), "reset"),
    "the request is cut in its head": (CutRequest(100), "reset"),
    "the request is cut in its body": (CutRequest(900), "reset"),
    "the request is reset": (CutRequest(900, reset=True), "reset"),
    "the answer is lost": (CutAnswer(), "reset"),
    "the answer is cut in its head": (CutAnswer(50), "reset"),
    "the answer is cut in its body": (CutAnswer(300), "reset"),
    "the answer is reset": (CutAnswer(300, reset=True), "reset"),
    "half open": (Swallow(), "timeout"),
    "nothing is taken": (Hang(), "timeout"),
    "closed at once": (Say(), "reset"),
    "garbage": (Say(bytes(range(256))), "transport"),
    "a captive portal": (answer("200 OK", HTML, "Content-Type: text/html"), "captive_portal"),
    "a portal that redirects": (answer("302 Found", b"", "Location: http://portal.example/"), "redirected"),
    "a platform that moved": (answer("308 Permanent Redirect", b"", "Location: https://b.example/"), "redirected"),
    "a 200 of nobody": (answer("200 OK", FALSE_200, "Content-Type: application/json"), "answer_unusable"),
    "a 204": (answer("204 No Content"), "answer_unusable"),
    "a proxy's 502": (answer("502 Bad Gateway", HTML, "Content-Type: text/html"), "server_error"),
    "a firewall's 403": (answer("403 Forbidden", HTML, "Content-Type: text/html"), "forbidden"),
}


@pytest.mark.parametrize("case", CASES)
async def test_each_fault_has_its_problem_and_costs_nothing(tmp_path: Path, case: str) -> None:
    fault, problem = CASES[case]
    async with office(tmp_path, tls=False) as (site, running, proxy, good):
        await site.record(40)
        proxy.faults = [fault]
        assert (await site.upload(proxy.url, good.certificate, timeout_s=0.7)).problem == problem
        assert await site.acknowledged() == 0
        assert (await site.upload(proxy.url, good.certificate)).problem == ""
        assert await at_the_platform(running, good) == site.ids()


BESIDE = (
    "the request is cut in its body",
    "the answer is lost",
    "the answer is cut in its head",
    "half open",
    "a 200 of nobody",
)


@pytest.mark.parametrize("case", BESIDE)
async def test_a_connection_that_fails_beside_another_takes_nothing_of_that_one_and_costs_nothing(
    tmp_path: Path, case: str
) -> None:
    fault, problem = CASES[case]
    async with office(tmp_path, tls=False) as (site, running, proxy, good):
        await site.record(100)
        proxy.faults = [Pass(0.02), fault]
        assert (await site.upload(proxy.url, good.certificate, 5, timeout_s=0.7)).problem == problem
        assert proxy.played[:2] == [Pass(0.02), fault]
        assert await site.acknowledged() == 10
        assert (await at_the_platform(running, good))[:10] == site.ids()[:10]
        assert (await site.upload(proxy.url, good.certificate, 5)).problem == ""
        assert await at_the_platform(running, good) == site.ids()


async def test_b2_b15_an_outage_of_three_days_loses_no_hour_though_records_are_kept_for_one(tmp_path: Path) -> None:
    clock = Clock(NOON_MS)
    async with office(tmp_path, tls=False, clock_ms=clock) as (site, running, proxy, good):
        for hour in range(72):
            await site.record(3, at_s=3600.0 * hour)
            clock.now_ms += 3_600_000
            await site.record(0)
            assert (await site.upload(GONE, good.certificate)).problem == "dns"
            if hour % 12 == 0:
                await asyncio.to_thread(site.ledger.prune_all)
        assert (await site.upload(proxy.url, good.certificate, max_events=100)).problem == ""
        arrived = await at_the_platform(running, good)
        assert arrived == site.ids()
        assert len(arrived) >= 2 * 3 * 72
        await asyncio.to_thread(site.ledger.prune_all)
        assert len(site.ids()) < len(arrived)


async def test_an_expired_certificate_is_told_as_what_it_is_and_gets_nothing(tmp_path: Path) -> None:
    async with office(tmp_path, tls=True) as (site, running, proxy, good):
        await site.record(5)
        assert (await site.upload(proxy.expired_url, good.certificate)).problem == "tls"
        assert "expired" in json.loads((await site.outbox.cursor("platform")).backoff)["detail"]
        assert await at_the_platform(running, good) == []
        assert (await site.upload(proxy.url, good.certificate)).problem == ""
        assert await at_the_platform(running, good) == site.ids()


anywhere = st.one_of(st.integers(0, 60), st.integers(0, 6000))
line_faults: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Pass, st.sampled_from([0, 0, 0.02])),
    st.builds(CutRequest, anywhere, st.booleans()),
    st.builds(CutAnswer, anywhere, st.booleans()),
    st.builds(CutAnswer, st.just(0), st.booleans()),
    st.sampled_from([Swallow(), *(fault for fault, _ in CASES.values() if isinstance(fault, Say))]),
)


# Calls made, whether the agent starts anew, where its platform is said to be, what the line does, the size of a batch.
steps = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.booleans(),
        st.sampled_from(["line", "line", "line", "line", "expired", "gone"]),
        st.lists(line_faults, max_size=4),
        st.sampled_from([1000, 50, 7]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.booleans(), steps)
def test_whatever_the_line_does_each_event_of_the_ledger_is_at_the_platform_once(
    tls: bool, steps: list[tuple[int, bool, str, list[Fault], int]]
) -> None:
    async def play(folder: Path) -> None:
        async with office(folder, tls) as (site, running, proxy, good):
            for calls, restarted, address, faults, max_events in steps:
                await site.record(calls)
                if restarted:
                    await site.restart()
                proxy.faults = list(faults)
                url = {"line": proxy.url, "expired": proxy.expired_url, "gone": GONE}[address]
                await site.upload(url, good.certificate, max_events, timeout_s=0.5)
                await site.upload(url, good.certificate, max_events, timeout_s=0.5)
                assert (await at_the_platform(running, good))[: await site.acknowledged()] == site.ids()[
                    : await site.acknowledged()
                ]
            proxy.faults = []
            assert (await site.upload(proxy.url, good.certificate)).problem == ""
            assert await at_the_platform(running, good) == site.ids()
            assert await site.acknowledged() == len(site.ids())

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))
