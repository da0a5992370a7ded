"""Hostile clients, over raw sockets: too many, too slow, too much, too often; each refused clearly, and cheaply."""

import asyncio
import contextlib
import json
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from tests.uplink.authority import Authority
from tests.uplink.platform import AUTHORIZATION, TOKEN, TOKENS, Clock, held, shipping
from tests.uplink.receiver.batches import TEN, batch_of, events, post
from tests.uplink.site import MemoryOutbox, event_body
from uplink.receiver.limits import Limits, Rate
from uplink.receiver.proxies import LOOPBACK
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
POST = (
    b"POST /v1/sites/site-1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
    b"Content-Type: application/cloudevents-batch+json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
)


@asynccontextmanager
async def limited(folder: Path, proxies: tuple[str, ...] = (), **limits: Any) -> AsyncIterator[RunningReceiver]:
    running = await serve(
        ReceiverSettings(database=str(folder / "r.db"), tokens=TOKENS, port=0, proxies=proxies, limits=Limits(**limits))
    )
    try:
        yield running
    finally:
        await running.close()


async def connect(receiver: RunningReceiver, from_address: str = "127.0.0.1") -> Stream:
    port = int(receiver.url.rpartition(":")[2])
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(from_address, 0))


async def whole(stream: Stream, within_s: float = 5.0) -> bytes:
    """Everything until the other side closes."""
    async with asyncio.timeout(within_s):
        try:
            return await stream[0].read(1 << 20)
        except ConnectionError:
            return b""


async def status_of(stream: Stream, request: bytes) -> int:
    stream[1].write(request)
    async with asyncio.timeout(5):
        top = await stream[0].readuntil(b"\r\n\r\n")
        length = int(top.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await stream[0].readexactly(length)
    return int(top.split()[1])


async def turned_away(receiver: RunningReceiver) -> dict[str, int]:
    async with aiohttp.ClientSession() as session, session.get(receiver.url + "/metrics") as response:
        lines = (await response.text()).splitlines()
    found = [line for line in lines if line.startswith("pegcount_receiver_turned_away_total{")]
    return {line.split('"')[1]: int(line.split()[-1]) for line in found}


# --- too slow


@pytest.mark.parametrize("begin", [b"", b"GET /healthz HTTP/1.1\r\nHo", b"\r\n"])
async def test_a_head_that_does_not_come_whole_is_waited_for_only_so_long(tmp_path: Path, begin: bytes) -> None:
    async with limited(tmp_path, head_timeout_s=0.3) as receiver:
        stream = await connect(receiver)
        began_s = time.monotonic()
        stream[1].write(begin)
        assert await whole(stream) == b""
        assert 0.25 < time.monotonic() - began_s < 3
        assert await turned_away(receiver) == {"head": 1}


async def test_a_head_that_comes_drop_by_drop_is_not_waited_for_longer(tmp_path: Path) -> None:
    async with limited(tmp_path, head_timeout_s=0.4) as receiver:
        _, writer = stream = await connect(receiver)
        began_s = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for octet in GET.replace(b"Host", b"X-Slow: yes\r\nHost"):
                writer.write(bytes([octet]))
                await writer.drain()
                await asyncio.sleep(0.05)
        assert time.monotonic() - began_s < 2
        assert await whole(stream) == b""


async def test_a_second_head_is_waited_for_no_longer_but_silence_between_two_is_no_slowness(tmp_path: Path) -> None:
    async with limited(tmp_path, head_timeout_s=0.4) as receiver:
        stream = await connect(receiver)
        assert await status_of(stream, GET) == 200
        await asyncio.sleep(0.7)
        assert await status_of(stream, GET) == 200
        stream[1].write(GET[:9])
        assert await whole(stream) == b""
        assert await turned_away(receiver) == {"head": 1}


NO_HTTP = {
    "garbage": b"\x00\x01\x02" * 100 + b"\r\n\r\n",
    "a method of nobody": b"FROB /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long path": b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": GET.replace(b"Host", b"X: " + b"a" * 1_000_000 + b"\r\nHost"),
    "many headers": GET.replace(b"Host", b"X: 1\r\n" * 100 + b"Host"),
    "two lengths": GET.replace(b"Host", b"Content-Length: 1\r\nContent-Length: 2\r\nHost"),
    "behind a good one": GET + b"GARBAGE\r\n\r\n",
}


@pytest.mark.parametrize("what", NO_HTTP)
async def test_what_is_no_http_gets_a_problem_document_and_no_line_in_the_log(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with limited(tmp_path) as receiver:
        stream = await connect(receiver)
        stream[1].write(NO_HTTP[what])
        answer = await whole(stream)
    top, _, document = answer.rpartition(b"\r\n\r\n")
    assert b" 400 Bad Request" in top
    assert b"Content-Type: application/problem+json" in top
    assert b"aiohttp" not in top
    assert json.loads(document)["code"] == "bad_http"
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_no_answer_names_what_the_receiver_is_made_with(tmp_path: Path) -> None:
    async with limited(tmp_path) as receiver, aiohttp.ClientSession() as session:
        for path in ("/healthz", "/v1/sites", "/nothing", "/fleet/login"):
            async with session.get(receiver.url + path) as response:
                assert response.headers["Server"] == "pegcount"


@asynccontextmanager
async def limited_with_tls(folder: Path, **limits: Any) -> AsyncIterator[tuple[RunningReceiver, ssl.SSLContext]]:
    """And what an honest client trusts."""
    authority = Authority(folder)
    issued = authority.issue("server")
    settings = ReceiverSettings(
        database=str(folder / "r.db"),
        tokens=TOKENS,
        port=0,
        certificate=str(issued.certificate),
        key=str(issued.key),
        limits=Limits(**limits),
    )
    running = await serve(settings)
    try:
        yield running, ssl.create_default_context(cafile=str(authority.ca_file))
    finally:
        await running.close()


async def asked_by_tls(receiver: RunningReceiver, trusted: ssl.SSLContext, path: str, from_address: str) -> str:
    connector = aiohttp.TCPConnector(ssl=trusted, local_addr=(from_address, 0))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(receiver.url + path) as response:
        assert response.status == 200
        return await response.text()


async def test_a_tls_handshake_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    async with limited_with_tls(tmp_path, head_timeout_s=0.3) as (receiver, trusted):
        began_s = time.monotonic()
        assert await whole(await connect(receiver)) == b""
        assert time.monotonic() - began_s < 3
        metrics = await asked_by_tls(receiver, trusted, "/metrics", "127.0.0.1")
        assert 'turned_away_total{reason="handshake"} 1' in metrics
        assert "pegcount_receiver_connections 1" in metrics


async def test_a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_never(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with limited_with_tls(tmp_path) as (receiver, trusted):
        certificate = Path(receiver._settings.certificate)
        before = certificate.read_bytes()
        certificate.write_bytes(b"half a cert")
        receiver.renew()
        await asked_by_tls(receiver, trusted, "/healthz", "127.0.0.1")
        assert "the one before is shown" in caplog.text
        (tmp_path / "new").mkdir()
        renewed = Authority(tmp_path / "new")
        issued = renewed.issue("server")
        certificate.write_bytes(issued.certificate.read_bytes())
        Path(receiver._settings.key).write_bytes(issued.key.read_bytes())
        receiver.renew()
        trusts_new = ssl.create_default_context(cafile=str(renewed.ca_file))
        await asked_by_tls(receiver, trusts_new, "/healthz", "127.0.0.1")
        assert issued.certificate.read_bytes() != before
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await asked_by_tls(receiver, trusted, "/healthz", "127.0.0.1")


async def test_connections_are_counted_before_their_handshake(tmp_path: Path) -> None:
    """Or whoever opens them and says nothing could have as many as there are, each with buffers of its own."""
    async with limited_with_tls(tmp_path, connections_per_address=3) as (receiver, trusted):
        silent = [await connect(receiver) for _ in range(5)]
        assert [await whole(each, 1.0) for each in silent[3:]] == [b"", b""]
        metrics = await asked_by_tls(receiver, trusted, "/metrics", "127.0.0.2")
        assert "pegcount_receiver_connections 4" in metrics
        assert 'turned_away_total{reason="address"} 2' in metrics
        for _, writer in silent[:3]:
            writer.close()
        async with asyncio.timeout(5):
            while "pegcount_receiver_connections 1" not in metrics:
                metrics = await asked_by_tls(receiver, trusted, "/metrics", "127.0.0.2")


@pytest.mark.parametrize("garbage", [GET, b"\x16\x03\x01\xff\xff" + bytes(600), bytes(8000)])
async def test_what_is_no_tls_is_cut(tmp_path: Path, garbage: bytes) -> None:
    async with limited_with_tls(tmp_path) as (receiver, trusted):
        stream = await connect(receiver)
        stream[1].write(garbage)
        assert b"HTTP" not in await whole(stream)
        metrics = await asked_by_tls(receiver, trusted, "/metrics", "127.0.0.1")
        assert 'turned_away_total{reason="handshake"} 1' in metrics


async def test_a_request_in_one_piece_with_the_end_of_the_handshake_is_answered(tmp_path: Path) -> None:
    """As clients of TLS 1.3 may send it (RFC 8446 section 2: after their Finished)."""
    async with limited_with_tls(tmp_path) as (receiver, trusted):
        reader, writer = await connect(receiver)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusted.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        async with asyncio.timeout(5):
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65536))
            client.write(GET)
            writer.write(outgoing.read())  # Finished and the request
            answer = b""
            while b"ok\n" not in answer:
                try:
                    answer += client.read(65536)
                except ssl.SSLWantReadError:
                    incoming.write(await reader.read(65536))
        assert answer.startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_who_does_not_take_his_answer_is_cut(tmp_path: Path) -> None:
    random = Random(7)
    async with limited(tmp_path, stalled_timeout_s=0.3) as receiver:
        for number in range(4):
            site = f"site-{number}"
            history = [event_body(site, "e-1", n, padding=random.randbytes(200).hex()) for n in range(1, 1001)]
            assert (await post(receiver, batch_of(history, 1, 1000), site=site))[0] == 200
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(lazy, ("127.0.0.1", int(receiver.url.rpartition(":")[2])))
            for number in range(4):
                path = f"/v1/sites/site-{number}/events?limit=5000"
                ask = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
                await loop.sock_sendall(lazy, ask.encode())
            async with asyncio.timeout(5):
                while (await turned_away(receiver)).get("stalled") != 1:
                    await asyncio.sleep(0.05)


# --- too many


async def test_more_connections_than_allowed_are_told_to_come_again(tmp_path: Path) -> None:
    async with limited(tmp_path, connections_max=3) as receiver:
        inside = [await connect(receiver) for _ in range(3)]
        for stream in inside:
            assert await status_of(stream, GET) == 200
        answer = await whole(await connect(receiver))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 5\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "busy"
        inside.pop()[1].close()
        await asyncio.sleep(0.1)
        assert await status_of(await connect(receiver), GET) == 200


async def test_one_address_does_not_take_the_places_of_all(tmp_path: Path) -> None:
    async with limited(tmp_path, connections_per_address=2) as receiver:
        greedy = [await connect(receiver, "127.0.0.2") for _ in range(2)]
        for stream in greedy:
            assert await status_of(stream, GET) == 200
        assert (await whole(await connect(receiver, "127.0.0.2"))).startswith(b"HTTP/1.1 503 ")
        assert await status_of(await connect(receiver, "127.0.0.3"), GET) == 200
        assert await turned_away(receiver) == {"address": 1}


# --- too often


async def test_an_address_that_comes_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with limited(tmp_path, address_rate=Rate(0.1, 3)) as receiver:
        stream = await connect(receiver, "127.0.0.2")
        assert [await status_of(stream, GET) for _ in range(4)] == [200, 200, 200, 429]
        stream[1].write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = await whole(stream)
        assert b"Retry-After: 10\r\n" in answer or b"Retry-After: 9\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "throttled"
        assert await status_of(await connect(receiver, "127.0.0.3"), GET) == 200


async def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_wrote(tmp_path: Path) -> None:
    async with limited(tmp_path, proxies=LOOPBACK, address_rate=Rate(0.1, 2)) as receiver:
        stream = await connect(receiver)

        async def as_of(forwarded: str) -> int:
            return await status_of(stream, GET.replace(b"Host: x", f"Host: x\r\nX-Forwarded-For: {forwarded}".encode()))

        assert [await as_of("192.0.2.1") for _ in range(3)] == [200, 200, 429]
        assert await as_of("203.0.113.9, 192.0.2.1") == 429
        assert await as_of("192.0.2.1, 192.0.2.2") == 200


async def test_who_is_no_named_proxy_speaks_for_nobody_else(tmp_path: Path) -> None:
    async with limited(tmp_path, proxies=("127.0.0.9",), address_rate=Rate(0.1, 2)) as receiver:
        stream = await connect(receiver, "127.0.0.2")
        lying = [GET.replace(b"Host: x", b"Host: x\r\nX-Forwarded-For: 192.0.2.%d" % number) for number in range(3)]
        assert [await status_of(stream, each) for each in lying] == [200, 200, 429]


async def test_a_named_proxy_may_have_all_connections(tmp_path: Path) -> None:
    async with limited(tmp_path, proxies=("127.0.0.9",), connections_per_address=1) as receiver:
        streams = [await connect(receiver, "127.0.0.9") for _ in range(3)]
        assert [await status_of(each, GET) for each in streams] == [200, 200, 200]
        first, second = await connect(receiver, "127.0.0.2"), await connect(receiver, "127.0.0.2")
        assert await status_of(first, GET) == 200
        assert b" 503 " in await whole(second)


async def test_a_site_that_comes_too_often_waits_alone_and_strangers_use_up_nothing_of_its_share(
    tmp_path: Path,
) -> None:
    async with limited(tmp_path, site_rate=Rate(0.01, 2)) as receiver:
        for _ in range(5):
            assert (await post(receiver, batch_of(TEN, 1, 10), Authorization="Bearer wrong"))[0] == 401
        assert [(await post(receiver, batch_of(TEN, 1, 10)))[0] for _ in range(3)] == [200, 200, 429]
        other = events("e-1", 1, 3, site="site-2")
        assert (await post(receiver, batch_of(other, 1, 3), site="site-2"))[0] == 200


async def test_an_agent_that_is_throttled_keeps_everything_and_says_so(tmp_path: Path) -> None:
    async with limited(tmp_path, site_rate=Rate(0.02, 2)) as receiver:
        outbox, clock = MemoryOutbox(), Clock()
        outbox.record(50)
        async with shipping(outbox, receiver.url, clock, max_events=10) as shipper:
            report = await shipper.upload()
            assert (report.problem, outbox.acked) == ("throttled", 20)
            assert 40_000 <= await shipper.due_at_ms() - clock.now_ms <= 60_000


# --- too much


async def test_of_a_body_that_is_refused_no_more_is_taken_than_an_honest_one_has(tmp_path: Path) -> None:
    """Megabytes of it are in the kernel's buffers; a sender that does not stop is cut."""
    async with limited(tmp_path) as receiver:
        stream = await connect(receiver)
        stream[1].write(POST % (b"wrong", 10**12))
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20:
                stream[1].write(bytes(65536))
                await stream[1].drain()
                sent += 65536
        assert sent < 32 << 20
        async with aiohttp.ClientSession() as session, session.get(receiver.url + "/metrics") as response:
            assert "pegcount_receiver_body_bytes_total 0\n" in await response.text()


async def test_refusing_is_far_cheaper_than_taking(tmp_path: Path) -> None:
    """CPU of both ends: strangers who announce half a megabyte against batches of half a megabyte before gzip."""
    async with limited(tmp_path) as receiver:
        history = events("e-1", 1, 1000, padding="x" * 300)
        batch = batch_of(history, 1, 1000)
        before_s = time.process_time()
        for number in range(10):
            assert (await post(receiver, batch, site="site-1"))[1]["duplicate"] is (number > 0)
        taken_s = time.process_time() - before_s
        before_s = time.process_time()
        for _ in range(10):
            stream = await connect(receiver)
            stream[1].write(POST % (b"wrong", 511_999))
            assert (await stream[0].read(9999)).startswith(b"HTTP/1.1 401 ")
            stream[1].close()
        refused_s = time.process_time() - before_s
        assert refused_s < taken_s / 4


async def refusal(receiver: RunningReceiver, method: str, path: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession(headers=AUTHORIZATION) as session,
        session.request(method, receiver.url + path) as response,
    ):
        document = await response.json(content_type="application/problem+json")
        return response.status, document["code"], response.headers.get("Allow", "")


async def test_wrong_paths_and_methods_are_refused_like_all_else(tmp_path: Path) -> None:
    async with limited(tmp_path) as receiver:
        for path in (
            "/v2/sites",
            "/v1/sites/a/b/c/d",
            "/v1/sites/..%2f..%2fetc%2fpasswd/totals",
            "/" + "x/" * 1500,
        ):
            assert (await refusal(receiver, "GET", path))[:2] in ((404, "no_such_path"), (404, "bad_site"))
        assert await refusal(receiver, "DELETE", "/v1/totals") == (405, "method_not_allowed", "GET, HEAD")
        assert await refusal(receiver, "TRACE", "/v1/sites/site-1/batches") == (405, "method_not_allowed", "POST")


async def test_a_query_is_bounded_like_a_header(tmp_path: Path) -> None:
    async with limited(tmp_path) as receiver:
        stream = await connect(receiver)
        stream[1].write(GET.replace(b"/healthz", b"/v1/sites?search=" + b"a" * 100_000))
        assert (await whole(stream)).startswith(b"HTTP/1.0 400 ")
        assert (await refusal(receiver, "GET", "/v1/sites?" + "&".join(f"a{n}=1" for n in range(400))))[0] == 400


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
async def test_json_as_deep_as_a_well_is_refused_and_harms_nobody(tmp_path: Path, opening: str, closing: str) -> None:
    depth = 60_000 // len(opening + closing)
    well = (opening * depth + "1" + closing * depth).encode()
    async with limited(tmp_path) as receiver:
        status, document = await post(receiver, batch_of([TEN[0], well, TEN[2]], 1, 3))
        assert (status, document["code"]) == (422, "bad_body")
        assert (await post(receiver, batch_of(TEN, 1, 10)))[0] == 200
        assert len(await held(receiver)) == 10


# --- too many for the files that may be open


async def test_who_may_open_few_files_lets_in_fewer_and_a_flood_is_no_flood_of_its_log(tmp_path: Path) -> None:
    """Without files left asyncio tries again without a pause, and writes a line of the log each time."""
    store = str(tmp_path / "r.db")
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'ulimit -n 300; exec "$0" "$@"', sys.executable, "-m", "agent.cli", "receiver"),
        *("--listen", "127.0.0.1:0", "--store", store),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        port = int((await process.stdout.readline()).rpartition(b":")[2])
    crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
    try:
        assert b"503 Service Unavailable" in await whole(crowd[-1])
    finally:
        for _, writer in crowd:
            writer.close()
        process.terminate()
    _, told = await process.communicate()
    assert [line.partition("serve: ")[2] for line in told.decode().splitlines()] == [
        "44 connections instead of 4096: this process may open 300 files"
    ]
