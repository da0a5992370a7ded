"""Who a destination `nats` is to its server: by password, token, nkey, credentials file and certificate."""

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from tests.uplink.authority import Authority
from tests.uplink.destinations.test_nats import STREAM, forwarding, operator, recorded
from tests.uplink.nats_guards import NAMES, SECRET, guards, wrong
from tests.uplink.nats_keys import Operator
from tests.uplink.receiver.jetstream import NatsServer


@pytest.mark.parametrize("name", NAMES)
async def test_who_shows_what_the_server_asks_for_comes_in_and_nobody_else(name: str, tmp_path: Path) -> None:
    guard = guards(tmp_path)[name]
    feed = recorded(3)
    with NatsServer(guard.configuration) as server:
        async with operator(server, **guard.operator) as js:
            await js.add_stream(**STREAM)
        for shown in ({}, wrong(tmp_path, name)):
            async with forwarding(server, feed, **shown) as loop:
                assert (await loop.upload()).problem == "unauthorized"
                assert SECRET not in loop.backoff.detail
        assert (feed.through, feed.refused) == (0, {})
        async with forwarding(server, feed, **guard.settings) as loop:
            assert (await loop.upload()).problem == ""
        async with operator(server, **guard.operator) as js:
            assert (await js.stream_info("METERS")).state.messages == 3


async def test_credentials_that_expire_are_told_and_renewed_ones_are_read_without_a_restart(tmp_path: Path) -> None:
    issuer, feed = Operator(), recorded(3)
    own = tmp_path / "own.creds"
    with NatsServer(issuer.configuration) as server:
        async with operator(server, user_credentials=str(issuer.let_in(tmp_path / "operator"))) as js:
            await js.add_stream(**STREAM)
        issuer.let_in(own, int(time.time()) + 2)
        async with forwarding(server, feed, creds_file=str(own)) as loop:
            assert (await loop.upload()).problem == ""
            await asyncio.sleep(2.5)
            feed.record(3)
            while (problem := (await loop.upload()).problem) != "unauthorized":
                assert problem in ("reset", "timeout")  # as the connection ends
            assert f"{own} was good until 20" in loop.backoff.detail
            own.write_text("half written")
            assert (await loop.upload()).problem == "credentials"
            assert f"{own}: this is no credentials file" in loop.backoff.detail
            assert feed.through == 3
            issuer.let_in(own)
            assert (await loop.upload()).problem == ""
        async with operator(server, user_credentials=str(own)) as js:
            assert (await js.stream_info("METERS")).state.messages == 6


async def test_a_user_who_may_not_publish_there_is_told_so_and_keeps_everything(tmp_path: Path) -> None:
    issuer, feed = Operator(), recorded(3)
    reader = issuer.let_in(tmp_path / "reader", pub={"deny": ["pegcount.>"]})
    with NatsServer(issuer.configuration) as server:
        async with operator(server, user_credentials=str(issuer.let_in(tmp_path / "operator"))) as js:
            await js.add_stream(**STREAM)
        async with forwarding(server, feed, creds_file=str(reader), timeout_s=0.5) as loop:
            assert (await loop.upload()).problem == "forbidden"
            assert "pegcount.site-1.voice.minutes" in loop.backoff.detail
    assert feed.through == 0


async def test_both_ends_show_certificates_of_authorities_that_the_other_knows(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    served, client_s, others = theirs.issue("server"), ours.issue("client"), theirs.issue("other")
    guard = f'tls {{ cert_file: "{served.certificate}", key_file: "{served.key}", ca_file: "{ours.ca_file}", verify: true }}'
    trusting = ssl.create_default_context(cafile=str(theirs.ca_file))
    trusting.load_cert_chain(client_s.certificate, client_s.key)
    feed = recorded(3)
    ca = {"ca_file": str(theirs.ca_file)}
    own = {"certificate": str(client_s.certificate), "key_file": str(client_s.key)}
    with NatsServer(guard) as server:
        async with operator(server, tls=trusting) as js:
            await js.add_stream(**STREAM)
        url = f"tls://127.0.0.1:{server.port}"
        other = {"certificate": str(others.certificate), "key_file": str(others.key)}
        for shown in (own, {"ca_file": str(ours.ca_file), **own}):  # not by whom we trust
            async with forwarding(server, feed, url=url, **shown) as loop:
                assert (await loop.upload()).problem == "tls"
        for shown in (ca, {**ca, **other}):  # not by whom it trusts
            async with forwarding(server, feed, url=url, **shown) as loop:
                assert (await loop.upload()).problem in ("tls", "reset")
        assert feed.through == 0
        async with forwarding(server, feed, url=url, **ca, **own) as loop:
            assert (await loop.upload()).problem == ""


async def test_a_password_is_not_said_where_tls_is_asked_for_and_somebody_says_that_there_is_none(
    tmp_path: Path,
) -> None:
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","auth_required":true,"max_payload":1048576}\r\n')
        heard.extend(await reader.read(4096))
        writer.close()

    listener = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    authority, feed = Authority(tmp_path), recorded(3)
    shown = guards(tmp_path)["password"].settings
    with NatsServer() as unused:
        for how in ({"url": f"tls://127.0.0.1:{port}"}, {"ca_file": str(authority.ca_file)}):
            async with forwarding(unused, feed, **({"url": f"nats://127.0.0.1:{port}"} | how | shown)) as loop:
                assert (await loop.upload()).problem == "tls"
    listener.close()
    assert (feed.through, bytes(heard)) == (0, b"")
