"""The HEP collector on a real socket: what arrives becomes legs, once, whatever stops in between."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from collectors.contract import Batch, Collector, Context, SourceMisconfigured, SourceUnavailable
from collectors.hep.kind import KIND
from collectors.records import Leg
from tests.collectors.hep.calls import TALK_S, beginning, end, later
from tests.collectors.hep.packets import OPTIONS, sip

START_S = 1_759_000_000.0


class Kept:
    """A sink that keeps batches, and waits before it does where it is told to."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0

    async def put(self, batch: Batch) -> None:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        self.batches.append(batch)

    @property
    def legs(self) -> list[Leg]:
        return [record for batch in self.batches for record in batch.records if isinstance(record, Leg)]

    @property
    def keys(self) -> list[str]:
        return [leg.key for leg in self.legs]

    @property
    def checkpoint(self) -> bytes | None:
        return next((batch.checkpoint for batch in reversed(self.batches) if batch.checkpoint), None)


class Port:
    """A bound UDP socket that outlives collectors, as the service manager holds one, and a sender to it."""

    def __init__(self) -> None:
        self.held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.held.bind(("127.0.0.1", 0))
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self._sender.sendto(datagram, self.held.getsockname())

    def close(self) -> None:
        self.held.close()
        self._sender.close()


@pytest.fixture
def port() -> Iterator[Port]:
    one = Port()
    yield one
    one.close()


def context(folder: Path, port: Port | None = None) -> Context:
    sockets = {"pbx": port.held.fileno()} if port else {}
    return Context(name="pbx", folder=folder, clock_ms=lambda: time.time_ns() // 1_000_000, inherited_sockets=sockets)


@asynccontextmanager
async def running(
    folder: Path, port: Port, sink: Kept, checkpoint: bytes | None = None, **settings: object
) -> AsyncIterator[Collector]:
    collector = KIND.open(KIND.config(**settings), context(folder, port))
    task = asyncio.create_task(collector.run(sink, checkpoint))
    try:
        yield collector
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


async def test_a_call_becomes_one_answered_leg(tmp_path: Path, port: Port) -> None:
    sink = Kept()
    async with running(tmp_path, port, sink) as collector:
        port.send(*beginning(1, START_S), *end(1, START_S), later(START_S))
        await until(lambda: sink.legs)
        assert collector.probe().counters["sip_messages"] == 7
    call = KIND.join(sink.legs)
    assert (call.caller.number, call.dialled, call.outcome, call.ending) == ("101", "202", "answered", "confirmed")
    assert (call.started_at_ms, call.talk_ms) == (START_S * 1000, TALK_S * 1000)
    assert sink.batches[-1].source_time_ms == (START_S + 600) * 1000


async def test_a_call_that_has_ended_is_handed_in_though_nothing_follows(tmp_path: Path, port: Port) -> None:
    sink = Kept()
    async with running(tmp_path, port, sink):
        port.send(*beginning(1, START_S), *end(1, START_S))
        await until(lambda: sink.legs)
    assert len(sink.legs) == 1


async def test_a_restart_in_the_middle_of_a_call_makes_one_leg(tmp_path: Path, port: Port) -> None:
    before, after = Kept(), Kept()
    async with running(tmp_path, port, before) as collector:
        port.send(*beginning(1, START_S), *beginning(2, START_S), *end(2, START_S), later(START_S - 400))
        await until(lambda: before.legs)
        assert collector.probe().counters["sip"] == 11
    port.send(*end(1, START_S), later(START_S))
    async with running(tmp_path, port, after, before.checkpoint):
        await until(lambda: "call-1@192.0.2.9" in str(after.legs))
    assert KIND.join([leg for leg in after.legs if leg.key not in before.keys]).talk_ms == TALK_S * 1000
    assert len(set(before.keys + after.keys)) == 2


async def test_after_a_loss_of_the_ledger_the_journal_is_read_again_with_the_same_keys(
    tmp_path: Path, port: Port
) -> None:
    before, after = Kept(), Kept()
    async with running(tmp_path, port, before):
        port.send(*beginning(1, START_S), *end(1, START_S), later(START_S))
        await until(lambda: before.legs)
    async with running(tmp_path, port, after):
        await until(lambda: after.legs)
    assert after.keys == before.keys


async def test_a19_a_checkpoint_of_another_version_costs_no_call(tmp_path: Path, port: Port) -> None:
    sink = Kept()
    async with running(tmp_path, port, sink, b"from long ago") as collector:
        port.send(*beginning(1, START_S), *end(1, START_S), later(START_S))
        await until(lambda: sink.legs)
        assert collector.probe().counters["resumed_without_state"] == 1


async def test_a_slow_ledger_does_not_stop_receiving(tmp_path: Path, port: Port) -> None:
    sink = Kept()
    sink.open.clear()
    async with running(tmp_path, port, sink) as collector:
        await until(lambda: collector.probe().backlog_bytes == 0)
        port.send(*beginning(1, START_S), *end(1, START_S), later(START_S))
        await until(lambda: sink.waiting)
        for number in range(2, 402):
            port.send(*beginning(number, START_S + 700 + number), *end(number, START_S + 700 + number))
            await asyncio.sleep(0)
        port.send(later(START_S + 2000))
        await until(lambda: collector.probe().counters["datagrams"] == 401 * 6 + 2)
        assert collector.probe().backlog_bytes > 400 * 6 * 300
        sink.open.set()
        await until(lambda: len(sink.keys) == 401)
        assert collector.probe().counters["kernel_drops"] == 0
    assert len(set(sink.keys)) == 401


async def test_a_full_journal_stops_receiving_until_the_ledger_goes_on(tmp_path: Path, port: Port) -> None:
    sink = Kept()
    sink.open.clear()
    filling = sip(OPTIONS + b" " * 60_000, START_S + 700)
    async with running(tmp_path, port, sink, journal_limit_mb=16) as collector:
        port.send(*beginning(1, START_S), *end(1, START_S), later(START_S))
        await until(lambda: sink.waiting)
        sent = 7
        while not collector.probe().counters["journal_full"]:
            port.send(filling)
            sent += 1
            await asyncio.sleep(0)
        assert "journal is full" in collector.probe().detail
        assert sum(path.stat().st_size for path in (tmp_path / "journal").iterdir()) <= 16 * 1024 * 1024
        port.send(*beginning(2, START_S + 700), *end(2, START_S + 700), later(START_S + 700))
        sink.open.set()
        await until(lambda: len(sink.legs) == 2)
        counters = collector.probe().counters
    assert (counters["datagrams"], counters["sip"], counters["kernel_drops"]) == (sent + 7, sent + 7, 0)
    assert "journal is full" not in collector.probe().detail


async def test_every_datagram_is_counted_under_one_name(tmp_path: Path, port: Port) -> None:
    sink = Kept()
    async with running(tmp_path, port, sink, password="secret") as collector:
        port.send(
            sip(OPTIONS, key=b"secret"),
            sip(OPTIONS, key=b"wrong"),
            sip(OPTIONS),
            sip(b"\r\n\r\n", key=b"secret"),
            sip(OPTIONS, key=b"secret").replace(b"\0\0\0\x0b\0\x07\x01", b"\0\0\0\x0b\0\x07\x05"),
            b"noise",
        )
        await until(lambda: len(sink.batches) and collector.probe().counters["datagrams"] == 6)
        counters = collector.probe().counters
    assert [counters[name] for name in ("sip", "keepalive", "other_protocol", "rejected", "auth_failed")] == [
        1,
        1,
        1,
        3,
        2,
    ]
    rejects = [one for batch in sink.batches for one in batch.rejects]
    assert sorted(one.reason for one in rejects) == ["hep_auth_failed", "hep_auth_failed", "hep_not_hep"]


async def _refusal(collector: Collector) -> SourceUnavailable | SourceMisconfigured:
    with pytest.raises((SourceUnavailable, SourceMisconfigured)) as told:
        await collector.run(Kept(), None)
    found: SourceUnavailable | SourceMisconfigured = told.value
    return found


async def test_a_port_in_use_may_be_tried_again(tmp_path: Path, port: Port) -> None:
    listen = f"127.0.0.1:{port.held.getsockname()[1]}"
    told = await _refusal(KIND.open(KIND.config(listen=listen), context(tmp_path)))
    assert isinstance(told, SourceUnavailable)
    assert "another program has this port" in told.hint


async def test_an_inherited_socket_that_everybody_can_reach_needs_a_password(tmp_path: Path) -> None:
    wide = Port()
    wide.held.close()
    wide.held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wide.held.bind(("0.0.0.0", 0))
    told = await _refusal(KIND.open(KIND.config(), context(tmp_path, wide)))
    assert isinstance(told, SourceMisconfigured)
    wide.close()


async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path, port: Port) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    told = await _refusal(KIND.open(KIND.config(), context(tmp_path, port)))
    assert isinstance(told, SourceUnavailable)
    assert "writable folder" in told.hint


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"listen": "0.0.0.0:9060"}, "password"), ({"listen": "pbx:9060"}, "127.0.0.1:9060")],
)
def test_a_wrong_configuration_says_what_to_do(settings: dict[str, str], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        KIND.config(**settings)


def test_with_a_password_any_address_will_do() -> None:
    assert KIND.config(listen="0.0.0.0:9060", password="secret")
