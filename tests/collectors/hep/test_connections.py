"""HEP over TCP and TLS: the same calls, whatever the senders do with their connections."""

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from collectors.contract import Collector, SourceMisconfigured, SourceUnavailable
from collectors.hep.kind import KIND
from collectors.io import server
from tests.collectors.hep.calls import TALK_S, beginning, end, later
from tests.collectors.hep.packets import OPTIONS, sip
from tests.collectors.hep.test_collect import START_S, Kept, context, until
from tests.collectors.hep.test_collect_kill import AGENT, kept


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@asynccontextmanager
async def serving(
    folder: Path, sink: Kept, *, checkpoint: bytes | None = None, **settings: object
) -> AsyncIterator[Collector]:
    collector = KIND.open(KIND.config(**settings), context(folder))
    task = asyncio.create_task(collector.run(sink, checkpoint))
    try:
        await until(lambda: task.done() or "listening on" in collector.probe().detail)
        yield collector
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def talk_ms(sink: Kept) -> int:
    return KIND.join(sink.legs).talk_ms


async def test_a_call_over_tcp(tmp_path: Path, port: int) -> None:
    sink = Kept()
    async with serving(tmp_path, sink, listen=f"tcp://127.0.0.1:{port}") as collector:
        with dial(port) as sender:
            sender.sendall(b"".join([*beginning(1, START_S), *end(1, START_S), later(START_S)]))
            await until(lambda: sink.legs)
        assert talk_ms(sink) == TALK_S * 1000
        assert collector.probe().counters["connections"] == 1


async def test_a_call_cut_into_single_octets_over_two_connections(tmp_path: Path, port: int) -> None:
    """Two senders at once, each in small pieces: their packets do not mix."""
    sink = Kept()
    first, second = b"".join(beginning(1, START_S)), b"".join(beginning(2, START_S))
    async with serving(tmp_path, sink, listen=f"tcp://127.0.0.1:{port}"):
        with dial(port) as one, dial(port) as other:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, max(len(first), len(second)), 7):
                one.sendall(first[at : at + 7])
                other.sendall(second[at : at + 7])
                await asyncio.sleep(0)
            one.sendall(b"".join([*end(1, START_S), *end(2, START_S), later(START_S)]))
            await until(lambda: len(sink.legs) == 2)
    assert {KIND.join([leg]).talk_ms for leg in sink.legs} == {TALK_S * 1000}


async def test_udp_and_tcp_feed_one_source(tmp_path: Path, port: int) -> None:
    sink, datagrams = Kept(), free_port()
    async with serving(tmp_path, sink, listen=[f"127.0.0.1:{datagrams}", f"tcp://127.0.0.1:{port}"]) as collector:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for packet in beginning(1, START_S):
                sender.sendto(packet, ("127.0.0.1", datagrams))
        await until(lambda: collector.probe().counters["sip"] == 4)
        with dial(port) as sender:
            sender.sendall(b"".join([*end(1, START_S), later(START_S)]))
            await until(lambda: sink.legs)
    assert talk_ms(sink) == TALK_S * 1000


async def test_after_noise_it_goes_on_and_a_sender_of_nothing_else_is_cut(tmp_path: Path, port: int) -> None:
    sink = Kept()
    async with serving(tmp_path, sink, listen=f"tcp://127.0.0.1:{port}") as collector:
        with dial(port) as sender:
            sender.sendall(
                b"GET / HTTP/1.1\r\n\r\n".join([b"", *beginning(1, START_S), *end(1, START_S), later(START_S)])
            )
            await until(lambda: sink.legs)
            assert collector.probe().counters["rejected"] == 7
            sender.sendall(sip(OPTIONS, START_S + 700).join([b"noise"] * 120))
            await until(lambda: collector.probe().counters["connections_cut"] == 1)
            assert sender.recv(1) == b""


async def test_a_wrong_key_is_refused_and_its_sender_cut(tmp_path: Path, port: int) -> None:
    sink = Kept()
    async with serving(tmp_path, sink, listen=f"tcp://127.0.0.1:{port}", password="secret") as collector:
        with dial(port) as sender:
            sender.sendall(sip(OPTIONS, key=b"guess") * 150)
            await until(lambda: collector.probe().counters["connections_cut"] == 1)
        assert collector.probe().counters["auth_failed"] > 100
        assert collector.probe().counters["sip"] == 0


async def test_an_unfinished_packet_is_counted_when_its_connection_ends(tmp_path: Path, port: int) -> None:
    async with serving(tmp_path, Kept(), listen=f"tcp://127.0.0.1:{port}") as collector:
        with dial(port) as sender:
            sender.sendall(sip(OPTIONS)[:40])
        await until(lambda: collector.probe().counters["packets_unfinished"] == 1)


async def test_connections_are_bounded_and_the_longest_silent_goes(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 3)
    async with serving(tmp_path, Kept(), listen=f"tcp://127.0.0.1:{port}") as collector:
        senders = [dial(port) for _ in range(3)]
        await until(lambda: collector.probe().counters["connections"] == 3)
        senders[0].sendall(sip(OPTIONS))
        await until(lambda: collector.probe().counters["sip"] == 1)
        senders.append(dial(port))
        await until(lambda: collector.probe().counters["connections_evicted"] == 1)
        assert senders[1].recv(1) == b""
        for sender in senders:
            sender.close()


async def test_a_full_journal_holds_a_sender_back_and_loses_nothing(tmp_path: Path, port: int) -> None:
    sink = Kept()
    sink.open.clear()
    filling = sip(OPTIONS + b" " * 60_000, START_S + 700)
    async with serving(tmp_path, sink, listen=f"tcp://127.0.0.1:{port}", journal_limit_mb=16) as collector:
        with dial(port) as sender:
            sender.sendall(b"".join([*beginning(1, START_S), *end(1, START_S), later(START_S)]))
            await until(lambda: sink.waiting)
            sender.setblocking(False)
            loop = asyncio.get_running_loop()
            sending = asyncio.create_task(loop.sock_sendall(sender, filling * 500))
            await until(lambda: collector.probe().counters["journal_full"])
            assert not sending.done()
            sink.open.set()
            await sending
            await until(lambda: collector.probe().counters["sip"] == 507)


async def test_a_restart_in_the_middle_of_a_call_makes_one_leg(tmp_path: Path, port: int) -> None:
    before, after = Kept(), Kept()
    async with serving(tmp_path, before, listen=f"tcp://127.0.0.1:{port}") as collector:
        with dial(port) as sender:
            sender.sendall(b"".join(beginning(1, START_S)) + sip(OPTIONS, START_S + 20)[:30])
            await until(lambda: collector.probe().counters["sip"] == 4)
    async with serving(tmp_path, after, checkpoint=before.checkpoint, listen=f"tcp://127.0.0.1:{port}") as collector:
        with dial(port) as sender:
            sender.sendall(b"".join([*end(1, START_S), later(START_S)]))
            await until(lambda: after.legs)
        assert collector.probe().counters["packets_unfinished"] == 1
    assert talk_ms(after) == TALK_S * 1000


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`agent`, `sender`, and `stranger`, each signed by itself, for localhost."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("agent", "sender", "stranger"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")),
            ],
            check=True,
            capture_output=True,
        )
    return folder


def trusting(certificates: Path, server_name: str, own_name: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates / f"{server_name}.crt"))
    if own_name:
        context.load_cert_chain(certificates / f"{own_name}.crt", certificates / f"{own_name}.key")
    return context


def tls_settings(certificates: Path, port: int) -> dict[str, object]:
    return {
        "listen": f"tls://127.0.0.1:{port}",
        "tls_certificate": str(certificates / "agent.crt"),
        "tls_key": str(certificates / "agent.key"),
    }


def send_over_tls(port: int, context: ssl.SSLContext, data: bytes) -> None:
    with dial(port) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as sender:
        sender.sendall(data)
        sender.settimeout(0.3)
        with suppress(TimeoutError):
            sender.recv(1)


CALL = b"".join([*beginning(1, START_S), *end(1, START_S), later(START_S)])


async def test_a_call_over_tls(tmp_path: Path, port: int, certificates: Path) -> None:
    sink = Kept()
    async with serving(tmp_path, sink, **tls_settings(certificates, port)):
        await asyncio.to_thread(send_over_tls, port, trusting(certificates, "agent"), CALL)
        await until(lambda: sink.legs)
    assert talk_ms(sink) == TALK_S * 1000


async def test_a_megabyte_within_tls_is_read_to_its_end(tmp_path: Path, port: int, certificates: Path) -> None:
    async with serving(tmp_path, Kept(), **tls_settings(certificates, port)) as collector:
        packets = sip(OPTIONS + b" " * 10_000) * 100
        await asyncio.to_thread(send_over_tls, port, trusting(certificates, "agent"), packets)
        await until(lambda: collector.probe().counters["sip"] == 100)


async def test_a_sender_that_trusts_another_authority_goes_away(tmp_path: Path, port: int, certificates: Path) -> None:
    async with serving(tmp_path, Kept(), **tls_settings(certificates, port)) as collector:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(send_over_tls, port, trusting(certificates, "stranger"), CALL)
        await until(lambda: collector.probe().counters["tls_failed"] == 1)
        assert collector.probe().counters["sip"] == 0


async def test_where_senders_need_a_certificate_only_the_right_one_opens(
    tmp_path: Path, port: int, certificates: Path
) -> None:
    sink = Kept()
    settings = tls_settings(certificates, port) | {"tls_client_ca": str(certificates / "sender.crt")}
    async with serving(tmp_path, sink, **settings) as collector:
        for own_name in ("", "stranger"):
            with suppress(OSError):
                await asyncio.to_thread(send_over_tls, port, trusting(certificates, "agent", own_name), CALL)
        await until(lambda: collector.probe().counters["tls_failed"] == 2)
        assert sink.legs == []
        await asyncio.to_thread(send_over_tls, port, trusting(certificates, "agent", "sender"), CALL)
        await until(lambda: sink.legs)


async def test_a_sender_without_tls_is_told_apart(
    tmp_path: Path, port: int, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_S", 0.2)
    async with serving(tmp_path, Kept(), **tls_settings(certificates, port)) as collector:
        with dial(port) as plain, dial(port):  # the other says nothing at all
            plain.sendall(CALL)
            await until(lambda: collector.probe().counters["tls_failed"] == 2)
        assert collector.probe().counters["sip"] == 0


@pytest.mark.parametrize(
    ("certificate", "kind", "word"),
    [("none.crt", SourceUnavailable, "No such file"), ("agent.key", SourceMisconfigured, "PEM files")],
)
async def test_a_certificate_that_cannot_be_used_is_told(
    tmp_path: Path, port: int, certificates: Path, certificate: str, kind: type[Exception], word: str
) -> None:
    settings = tls_settings(certificates, port) | {"tls_certificate": str(certificates / certificate)}
    with pytest.raises(kind) as told:
        await KIND.open(KIND.config(**settings), context(tmp_path)).run(Kept(), None)
    assert word in f"{told.value} {told.value.hint}"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"listen": "tcp://0.0.0.0:9060"}, "password"),
        ({"listen": "tls://127.0.0.1:9060"}, "tls_certificate"),
        ({"listen": ["127.0.0.1:9060", "http://127.0.0.1:80"]}, "none of udp, tcp, tls"),
    ],
)
def test_a_wrong_configuration_says_what_to_do(settings: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        KIND.config(**settings)


def test_client_certificates_are_a_lock_too() -> None:
    assert KIND.config(listen="tls://0.0.0.0:9060", tls_certificate="a.crt", tls_client_ca="senders.crt")


TCP_AGENT = AGENT.replace('inherited_sockets={"pbx": descriptor}', "inherited_sockets={}").replace(
    "KIND.config()", 'KIND.config(listen=f"tcp://127.0.0.1:{descriptor}")'
)


def connected(port: int, agent: "subprocess.Popen[bytes]") -> socket.socket:
    deadline = time.monotonic() + 10
    while True:
        assert agent.poll() is None, "the collector ended"
        try:
            return dial(port)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.02)


def until_kept(folder: Path, true: Callable[[dict[str, int]], bool]) -> None:
    deadline = time.monotonic() + 15
    while not true(kept(folder)):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def received(folder: Path) -> int:
    """Octets of HEP that stand in the journal, by its files alone."""
    return sum(path.read_bytes().count(b"HEP3") for path in (folder / "journal").glob("*.journal"))


def test_what_was_read_off_a_connection_survives_kills(tmp_path: Path, port: int) -> None:
    """Each turn waits until the calls' beginnings stand in the journal, not until they are decoded, and kills."""
    turns, between = 6, 30
    for turn in range(turns):
        agent = subprocess.Popen([sys.executable, "-c", TCP_AGENT, str(tmp_path), str(port)], stdout=subprocess.PIPE)
        with connected(port, agent) as sender:
            numbers = range(turn * between, (turn + 1) * between)
            at_s = START_S + turn * 200
            packets = b"".join(packet for number in numbers for packet in beginning(number, at_s + number * 0.5))
            if turn:
                earlier = range((turn - 1) * between, turn * between)
                packets = (
                    b"".join(packet for number in earlier for packet in end(number, at_s - 200 + number * 0.5))
                    + packets
                )
            sent = packets.count(b"HEP3")
            before = received(tmp_path)
            sender.sendall(packets + packets[:50])
            deadline = time.monotonic() + 10
            while received(tmp_path) < before + sent:
                assert time.monotonic() < deadline, "it was not read"
                time.sleep(0.005)
            os.kill(agent.pid, signal.SIGKILL)
            agent.communicate()
    agent = subprocess.Popen([sys.executable, "-c", TCP_AGENT, str(tmp_path), str(port)], stdout=subprocess.PIPE)
    last = range((turns - 1) * between, turns * between)
    with connected(port, agent) as sender:
        at_s = START_S + (turns - 1) * 200
        sender.sendall(b"".join(packet for number in last for packet in end(number, at_s + number * 0.5)))
        sender.sendall(later(at_s + 2000))
        until_kept(tmp_path, lambda found: len(found) == turns * between)
    os.kill(agent.pid, signal.SIGKILL)
    agent.communicate()
    assert set(kept(tmp_path).values()) == {int(TALK_S * 1000)}
