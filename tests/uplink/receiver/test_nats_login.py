"""Who a receiver is to the server of its log, and what it does when that sends it away."""

import asyncio
import logging
import os
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.uplink.authority import Authority
from tests.uplink.nats_guards import NAMES, SECRET, guards, wrong
from tests.uplink.nats_keys import Operator
from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.storages import booking, settled
from tests.uplink.receiver.test_booking import incoming
from uplink.receiver.placing import Append
from uplink.receiver.storage import StoreUnavailable
from uplink.receiver.storage.jetstream import JetStreamStore
from uplink.receiver.storage.nats_place import parse
from uplink.receiver.storage.opening import open_storage

OPTIONS = {"password_file": "password", "token_file": "token", "creds_file": "creds", "nkey_file": "nkey"}


def url(server: NatsServer, settings: dict[str, str]) -> str:
    """As an operator writes down what a destination's settings say."""
    user = f"{settings['user']}@" if "user" in settings else ""
    options = {OPTIONS[key]: value for key, value in settings.items() if key != "user"}
    return f"nats://{user}127.0.0.1:{server.port}/PEGCOUNT?{urlencode(options)}"


@pytest.mark.parametrize("name", NAMES)
async def test_who_shows_what_the_server_asks_for_comes_in_and_nobody_else(name: str, tmp_path: Path) -> None:
    guard = guards(tmp_path)[name]
    with NatsServer(guard.configuration) as server:
        for shown in ({}, wrong(tmp_path, name)):
            began_s = time.monotonic()
            with pytest.raises(StoreUnavailable, match="Authorization Violation") as told:
                await open_storage(url(server, shown))
            assert time.monotonic() - began_s < 3
            assert SECRET not in str(told.value)
        store = await open_storage(url(server, guard.settings))
        assert (await store.append(incoming("site-1", "original", 1, 3))).placement == Append()
        await store.close()


async def test_a_receiver_whose_credentials_expire_comes_back_with_renewed_ones_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplink.receiver.storage.jetstream_log.ANSWER_S", 0.5)
    issuer, own = Operator(), tmp_path / "own.creds"
    issuer.let_in(own, int(time.time()) + 3)
    with NatsServer(issuer.configuration) as server, caplog.at_level(logging.WARNING, "uplink.receiver.storage"):
        books = await open_storage(str(tmp_path / "books.db"))
        store = await JetStreamStore.open(url(server, {"creds_file": str(own)}), books)
        async with booking(store):
            await store.append(incoming("site-1", "original", 1, 3))
            await store.put("kind", "key", b"a document")
            await settled(store, "site-1")
            async with asyncio.timeout(10):
                while not any("good until" in record.getMessage() for record in caplog.records):
                    await asyncio.sleep(0.1)
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(2):
                    await store.append(incoming("site-1", "original", 4, 3))
            issuer.let_in(tmp_path / "renewed")
            os.replace(tmp_path / "renewed", own)
            async with asyncio.timeout(10):
                while not any("is back" in record.getMessage() for record in caplog.records):
                    await asyncio.sleep(0.1)
            await store.append(incoming("site-1", "original", 4, 6))
            document = await store.get("kind", "key")
            assert document is not None
            assert document.body == b"a document"
            await settled(store, "site-1")
        assert [each.seq for each in await books.events("site-1", 0, 99)] == list(range(1, 10))
        await store.close()


async def test_a_receiver_that_may_not_publish_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplink.receiver.storage.jetstream_log.ANSWER_S", 0.3)
    issuer = Operator()
    reader = issuer.let_in(tmp_path / "reader", pub={"deny": ["m.>"]})
    with NatsServer(issuer.configuration) as server:
        store = await open_storage(url(server, {"creds_file": str(reader)}))
        for site in ("site-1", "site-2"):
            with pytest.raises(StoreUnavailable):
                await store.append(incoming(site, "original", 1, 3))
        await store.close()
    told = [record.getMessage() for record in caplog.records if "permissions violation" in record.getMessage().lower()]
    assert len(told) == 1
    assert "site-1" in told[0]


async def test_a_log_is_reached_by_tls_with_certificates_of_private_authorities(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    served, shown = theirs.issue("server"), ours.issue("client")
    guard = f'tls {{ cert_file: "{served.certificate}", key_file: "{served.key}", ca_file: "{ours.ca_file}", verify: true }}'
    options = {"ca": str(theirs.ca_file), "cert": str(shown.certificate), "key": str(shown.key)}
    with NatsServer(guard) as server:
        place = f"tls://127.0.0.1:{server.port}"
        store = await open_storage(f"{place}?{urlencode(options)}")
        assert (await store.append(incoming("site-1", "original", 1, 3))).placement == Append()
        await store.close()
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            await open_storage(f"{place}?{urlencode(options | {'ca': str(ours.ca_file)})}")
        with pytest.raises(StoreUnavailable, match="not the PEM it should be"):
            await open_storage(f"{place}?{urlencode(options | {'key': str(served.key)})}")
    with NatsServer() as plain, pytest.raises(StoreUnavailable, match="secure connection"):
        await open_storage(f"tls://127.0.0.1:{plain.port}?{urlencode(options)}")


def test_files_of_a_login_are_options_of_the_url_and_one_login_is_enough() -> None:
    place = parse("nats://meter%40site@h?password=/p&ca=/a&cert=/c&key=/k")
    assert (place.servers, place.login.user, place.login.password_file) == (["nats://h"], "meter@site", "/p")
    assert (place.login.ca_file, place.login.certificate, place.login.key_file) == ("/a", "/c", "/k")
    assert parse("nats://h?nkey=/n").login.nkey_file == "/n"
    assert parse("tls://h").login.tls
    for wrong_url in (
        "nats://h?password=/p",
        "nats://h?creds=/c&nkey=/n",
        "nats://h?token=/t&creds=/c",
        "nats://h?cert=/c",
    ):
        with pytest.raises(StoreUnavailable):
            parse(wrong_url)


async def test_files_that_cannot_be_used_are_told_by_name(tmp_path: Path) -> None:
    for option in ("password", "token", "creds", "nkey", "ca"):
        with pytest.raises(StoreUnavailable, match="none"):
            await open_storage(f"nats://meter@127.0.0.1:1?{option}={tmp_path}/none")
