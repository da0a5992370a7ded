"""Receipts: nothing that they say can be changed, and an enrolled site takes nothing for acknowledged without one."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.config.tables import Ledger as LedgerSettings
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.writer import Ledger
from agent.metering.rules import Metering, Site
from tests.uplink.enrolled import SITE, enrol_at, enrolled_shipping, give_token, platform_at
from tests.uplink.platform import Ask, Fault, line_to
from tests.uplink.site import MemoryOutbox, chain_of
from uplink import receipts
from uplink.batch import Head
from uplink.keys import PrivateKey
from uplink.receipts import Receipt, Receipted, ReceiptInvalid

KEY = PrivateKey.make()
HEAD = Head(epoch="e-1", first=3, last=5, count=3, prev=b"p" * 32, chain=b"c" * 32, head_time_s=1_795_168_800)
TIME = "2026-11-20T10:00:00.000Z"


def answer(receipt: Receipt | None = None, **more: object) -> bytes:
    return msgspec.json.encode(
        {"server_time": TIME, "receipt": receipt or receipts.countersign(KEY, SITE, HEAD, TIME), **more}
    )


def checked(body: bytes, head: Head = HEAD, site: str = SITE, through: int = 5) -> Receipted:
    return receipts.check(site, head, through, body, {KEY.id: KEY.public})


def test_the_signed_text_is_as_the_reference_says() -> None:
    text = receipts.receipt_text("s", "e-1", 3, 5, b"p" * 32, b"c" * 32, TIME)
    assert text == (
        b"pegcount-receipt-1\ns\ne-1\n3\n5\ncHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA=\n"
        b"Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2M=\n2026-11-20T10:00:00.000Z\n"
    )


def test_a_receipt_that_holds_is_kept_with_all_that_it_says() -> None:
    kept = checked(answer())
    assert (kept.first, kept.last, kept.prev, kept.chain) == (3, 5, b"p" * 32, b"c" * 32)
    assert (kept.server_time, kept.key, kept.public) == (TIME, KEY.id, KEY.public)
    assert receipts.holds(SITE, "e-1", kept)


CHANGES: list[dict[str, Any]] = [
    {"first": 2},
    {"last": 4},
    {"prev": b"q" * 32},
    {"chain": b"d" * 32},
    {"server_time": "2026-11-20T10:00:00.001Z"},
    {"public": PrivateKey.make().public},
    {"signature": b"x" * 64},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_nothing_in_it_can_be_changed(change: dict[str, Any]) -> None:
    assert not receipts.holds(SITE, "e-1", msgspec.structs.replace(checked(answer()), **change))


def test_it_is_for_one_site_and_epoch() -> None:
    kept = checked(answer())
    assert not receipts.holds("another", "e-1", kept)
    assert not receipts.holds(SITE, "e-2", kept)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"server_time": "t"}', "no receipt"),
        (b'{"receipt": null}', "no receipt"),
        (b'{"receipt": 7}', "object"),
        (b'{"receipt": {"key": "k", "sig": "AAAA"}}', "octets"),
        (b'{"receipt": {"key": "k", "sig": "%"}}', "base64"),
        (answer(receipts.countersign(PrivateKey.make(), SITE, HEAD, TIME)), "introduces"),
        (answer(receipts.countersign(KEY, "another", HEAD, TIME)), "signature"),
        (answer(server_time="2026-11-21T10:00:00.000Z"), "signature"),
        (answer(server_time="a\nb"), "no time"),
        (answer(server_time="a" * 41), "no time"),
        (b"<html>", "malformed"),
    ],
    ids=str,
)
def test_anything_else_is_no_receipt(body: bytes, said: str) -> None:
    with pytest.raises(ReceiptInvalid, match=said):
        checked(body)


def test_it_is_for_all_of_a_batch() -> None:
    with pytest.raises(ReceiptInvalid, match="all of a batch"):
        checked(answer(), through=4)


def changed(change: Callable[[dict[str, Any]], object]) -> Fault:
    """The platform's answer comes back changed."""

    async def fault(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        _, _, body = (await ask()).partition(b"\r\n\r\n")
        document = json.loads(body)
        change(document)
        body = json.dumps(document).encode()
        top = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        writer.write(top.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()

    return fault


async def test_an_answer_without_a_receipt_that_holds_acknowledges_nothing(tmp_path: Path) -> None:
    outbox, folder = MemoryOutbox(SITE), tmp_path / "identity"
    outbox.record(3)
    async with platform_at(tmp_path) as receiver, line_to(receiver) as line:
        await give_token(receiver.store)
        await enrol_at(receiver.url, folder)
        async with enrolled_shipping(outbox, line.url, folder) as shipper:
            for change in (
                lambda document: document.pop("receipt"),
                lambda document: document.update(server_time="2020-01-01T00:00:00.000Z"),
                lambda document: document["receipt"].update(key=KEY.id),
            ):
                line.faults = [changed(change)]
                assert (await shipper.upload()).problem == "receipt_invalid"
                assert (outbox.acked, outbox.receipts) == (0, [])
            assert (await shipper.upload()).problem == ""
            assert (await shipper.upload()).problem == ""
    batch, heartbeat = outbox.receipts
    assert (batch.first, batch.last, batch.prev, batch.chain) == (1, 3, chain_of([]), chain_of(outbox.bodies))
    assert (heartbeat.first, heartbeat.last, heartbeat.prev) == (4, 3, heartbeat.chain)


async def test_the_ledger_keeps_each_receipt_with_its_key(tmp_path: Path) -> None:
    settings = LedgerSettings(path=str(tmp_path / "ledger.db"))
    ledger = Ledger.open(settings, Site(id=SITE, provider="acme"), Metering())
    outbox = LedgerOutbox(ledger, SITE, f"urn:acme:site:{SITE}")
    epoch = (await outbox.identity()).epoch
    await outbox.cursor("platform")
    start, folder = bytes(32), tmp_path / "identity"
    async with platform_at(tmp_path) as receiver:
        await give_token(receiver.store)
        await enrol_at(receiver.url, folder)
        async with enrolled_shipping(outbox, receiver.url, folder) as shipper:
            for _ in range(3):
                assert (await shipper.upload()).problem == ""
        (platform_key,) = shipper.platform_keys.items()

    def kept(db: Any) -> tuple[list[Any], list[Any]]:
        columns = "first, last, prev, chain, server_time, receipt.key, public, signature"
        joined = f"SELECT {columns} FROM receipt JOIN platform_key ON platform_key.key = receipt.key"
        return db.execute(joined).fetchall(), db.execute("SELECT * FROM platform_key").fetchall()

    (row,), keys = await asyncio.wrap_future(ledger.do(kept))
    outbox.close()
    ledger.close()
    names = ("first", "last", "prev", "chain", "server_time", "key", "public", "signature")
    receipt = Receipted(**dict(zip(names, row, strict=True)))
    assert (receipt.first, receipt.last, receipt.prev, receipt.chain) == (1, 0, start, start)
    assert receipts.holds(SITE, epoch, receipt)
    assert keys == [platform_key]
