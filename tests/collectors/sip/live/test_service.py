"""The capture service on networks of their own: what is heard live is what was sent, whoever is killed meanwhile."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from msgspec import structs

from collectors.contract import Context, SourceError, SourceMisconfigured, SourceUnavailable
from collectors.sip.dissect import Dissector
from collectors.sip.kind import KIND, SipConfig
from collectors.sip.live.client import CaptureClient
from collectors.sip.live.source import Frame
from collectors.sip.live.stream import LiveStream
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import Exchange, ethernet, in_order, ip, pcap, register, split_address, udp
from tests.collectors.sip.live.memory import Kept
from tests.collectors.sip.live.network import Network, network

__all__ = ["network"]

PHONE, PROXY = "127.0.0.2:5060", "127.0.0.3:5070"
TALK = Exchange("live-1", PHONE, PROXY, "101", "300").talk(0, 1, 6)
LARGE = Exchange("live-2", PHONE, PROXY, "102", "300", headers=[("X-Filler", "x" * 3_000)]).talk(0, 1, 6)
REGISTERED = [
    structs.replace(packet, src=src, dst=dst)
    for packet, src, dst in zip(register(3, "101"), (PHONE, PROXY), (PROXY, PHONE), strict=True)
]


def config(folder: Path, interface: str = "lo", **more: object) -> SipConfig:
    settings = {"interface": interface, "capture_socket": str(folder / "capture.sock"), **more}
    return KIND.config(**settings)  # type: ignore[return-value]


class Service:
    """`pegcount capture` in a network of its own."""

    def __init__(self, folder: Path, network: Network, interface: str = "lo", **more: object) -> None:
        self.folder, self.network = folder, network
        self.config = config(folder, interface, **more)
        lines = "\n".join(f"{key} = {value!r}" for key, value in more.items())
        (folder / "pegcount.toml").write_text(
            '[site]\nid = "0190a3c2-6f4b-7c11-9d5e-3a1f0c2b4d6e"\nprovider = "example"\n'
            f'[[source]]\nname = "live"\nkind = "sip"\ninterface = "{interface}"\n'
            f'capture_socket = "{self.config.capture_socket}"\n{lines}\n'
        )
        self.start()

    def start(self, *before: str) -> None:
        command = (
            *before,
            sys.executable,
            "-m",
            "agent.cli",
            "capture",
            "--config",
            str(self.folder / "pegcount.toml"),
        )
        self.log = (self.folder / "service.log").open("ab")
        manager = self.folder / "notify.sock"
        manager.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(manager))
            manager.chmod(0o777)
            told.settimeout(20)
            env = {**os.environ, "NOTIFY_SOCKET": str(manager)}
            self.process = self.network.start(*command, stderr=self.log, env=env)
            assert b"READY=1" in told.recv(1_000)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(10)
        self.log.close()

    def send(self, packets: Iterable[SipPacket]) -> None:
        def out() -> None:
            for packet in packets:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    (source, port), (target, to) = map(split_address, (packet.src, packet.dst))
                    sender.bind((socket.inet_ntoa(source), port))
                    sender.sendto(packet.payload, (socket.inet_ntoa(target), to))

        self.network.inside(out)


async def until(true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.02)


@pytest.fixture
def service(tmp_path: Path, network: Network) -> Iterator[Service]:
    one = Service(tmp_path, network)
    yield one
    one.kill(signal.SIGTERM)


async def taken(client: CaptureClient, count: int) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < count:
        more = await client.take(1_000, 3)
        if not more:
            break
        frames += more
    return frames


async def heard(service: Service) -> CaptureClient:
    client = CaptureClient(service.config.capture_socket)
    await client.open(None)
    return client


def payloads(frames: Sequence[Frame]) -> list[bytes]:
    return [frame.data[14 + 20 + 8 :] for frame in frames]


@pytest.mark.parametrize("interface", ["lo", "any"])
async def test_a_call_heard_live_is_the_call_that_was_sent(tmp_path: Path, network: Network, interface: str) -> None:
    network.ip("link", "set", "lo", "mtu", "1500")
    service = Service(tmp_path, network, interface)
    context = Context(name="live", folder=tmp_path, clock_ms=lambda: 0)
    collector, sink = KIND.open(service.config, context), Kept()
    task = asyncio.create_task(collector.run(sink, None))
    try:
        service.send([*TALK, *LARGE, *REGISTERED])
        await until(lambda: len(sink.legs) == 2)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        service.kill(signal.SIGTERM)
    told = {
        (call.caller.number, call.dialled, call.outcome, call.ending)
        for call in (KIND.join([leg]) for leg in sink.legs)
    }
    assert told == {("101", "300", "answered", "confirmed"), ("102", "300", "answered", "confirmed")}
    counters = collector.probe().counters
    assert (counters["messages"], counters["calls"], counters.get("retransmissions", 0)) == (16, 2, 0)
    assert (counters["kernel_drops"], counters["frames_lost"]) == (0, 0)
    assert len(sink.records) == 3, "two legs and a registration"


async def test_times_are_those_of_the_kernel(service: Service) -> None:
    client = await heard(service)
    before_us = time.time_ns() // 1000
    service.send(TALK)
    frames = await taken(client, 7)
    assert payloads(frames) == [packet.payload for packet in TALK]
    assert before_us <= frames[0].at_us <= frames[-1].at_us <= time.time_ns() // 1000
    await client.close()


async def test_an_agent_that_is_killed_finds_everything_that_it_had_not_released(service: Service) -> None:
    first = await heard(service)
    service.send(TALK)
    await taken(first, 7)
    durable = first.position
    await first.release(durable)
    service.send(LARGE)
    count = len(await taken(first, 7))
    await first.close()  # as a kill does: nothing more is said
    service.send(TALK)
    again = CaptureClient(service.config.capture_socket)
    await again.open(durable)
    frames = await taken(again, count + 7)
    assert payloads(frames)[-7:] == [packet.payload for packet in TALK]
    assert (len(frames), again.counters["frames_lost"]) == (count + 7, 0)
    await again.close()


async def test_what_does_not_fit_the_buffer_is_counted(tmp_path: Path, network: Network) -> None:
    service = Service(tmp_path, network, buffer_mb=16)
    client = await heard(service)
    service.send(TALK)
    await taken(client, 7)
    position = client.position
    await client.close()
    big = [SipPacket(0, "udp", PHONE, PROXY, b"%06d" % number + bytes(60_000)) for number in range(600)]
    service.send(big)
    again = CaptureClient(service.config.capture_socket)
    await again.open(position)
    frames = await taken(again, 600)
    await again.take(1, 1.5)
    lost, drops = again.counters["frames_lost"], again.counters["kernel_drops"]
    assert 0 < len(frames) < 600
    assert len(frames) + lost + drops == 600
    numbers = [payload[:6] for payload in payloads(frames)]
    assert numbers == sorted(set(numbers)), "what is left is in order, and nothing twice"
    await again.close()
    service.kill(signal.SIGTERM)


async def test_a_service_that_is_killed_is_told_and_how_long_nobody_captured(tmp_path: Path, network: Network) -> None:
    service = Service(tmp_path, network)
    client = await heard(service)
    service.send(TALK)
    await taken(client, 7)
    service.kill()
    with pytest.raises(SourceUnavailable, match="is gone: it closed the connection") as told:
        await taken(client, 1)
    assert told.value.code == "capture_service_absent"
    position = client.position
    await client.close()
    await asyncio.sleep(1)
    service.start()
    again = CaptureClient(service.config.capture_socket)
    await again.open(position)
    service.send(TALK)
    assert len(await taken(again, 7)) == 7
    assert again.counters["capture_restarts"] == 1
    assert 1_000 <= again.counters["unheard_ms"] < 15_000
    await again.close()
    service.kill(signal.SIGTERM)


async def test_a_service_that_is_stopped_hands_over_what_it_has(tmp_path: Path, network: Network) -> None:
    service = Service(tmp_path, network)
    client = await heard(service)
    service.send(TALK)
    service.process.send_signal(signal.SIGTERM)
    assert len(await taken(client, 7)) == 7
    await client.close()
    service.kill(signal.SIGTERM)


async def test_who_connects_and_says_rubbish_or_nothing_does_no_harm(service: Service) -> None:
    for said in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(16), b"\xff" * 5_000) * 5:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
            visitor.connect(service.config.capture_socket)
            visitor.sendall(said)
        service.send(TALK)
    await asyncio.sleep(0.3)
    client = await heard(service)
    assert len(await taken(client, 140)) == 140
    assert client.counters["frames_lost"] == 0
    await client.close()


async def _trouble(service: Service) -> SourceError:
    client = CaptureClient(service.config.capture_socket)
    with pytest.raises(SourceError) as told:
        await client.open(None)
    await client.close()
    return told.value


async def test_an_interface_that_is_not_there_is_told_and_taken_when_it_comes(tmp_path: Path, network: Network) -> None:
    service = Service(tmp_path, network, "veth0")
    told = await _trouble(service)
    assert (told.code, str(told)) == ("capture_no_interface", "there is no network interface veth0 (now); there are lo")
    network.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
    await asyncio.sleep(1.2)
    down = await _trouble(service)
    assert (down.code, str(down)) == ("capture_interface_down", "the network interface veth0 is down")
    network.switch("veth0", True)
    await asyncio.sleep(1.2)
    client = await heard(service)
    network.switch("veth0", False)
    with pytest.raises(SourceUnavailable) as gone:
        await taken(client, 1)
    assert gone.value.code == "capture_interface_down"
    await client.close()
    network.ip("link", "del", "veth0")
    await asyncio.sleep(1.2)
    assert (await _trouble(service)).code == "capture_no_interface"
    service.kill(signal.SIGTERM)


async def test_frames_between_two_hosts_with_tags_in_them_are_heard_on_the_wire(
    tmp_path: Path, network: Network
) -> None:
    network.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
    for interface in ("veth0", "veth1"):
        network.switch(interface, True)
    service = Service(tmp_path, network, "veth0")
    client = await heard(service)
    src, dst = "192.0.2.1:5060", "192.0.2.2:5060"
    packet = ip(src, dst, 17, udp(src, dst, TALK[0].payload))
    frames = [ethernet(packet), ethernet(packet, [(0x8100, 7)]), ethernet(packet, [(0x88A8, 7), (0x8100, 8)])]

    def out() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("veth1", 0))
            for frame in frames:
                sender.send(frame)

    network.inside(out)
    got = await taken(client, 3)
    assert [frame.data[12:] for frame in got] == [
        ethernet(packet)[12:],
        ethernet(packet)[12:],
        ethernet(packet, [(0x8100, 8)])[12:],
    ], "the kernel takes off the outer tag"
    await client.close()
    service.kill(signal.SIGTERM)


async def test_a_message_that_leaves_in_one_large_segment_is_heard_whole(service: Service) -> None:
    """Segmentation offload: what goes over the wire in many frames passes here as one of up to 64 KiB."""
    packet = Exchange("large", PHONE, PROXY, "101", "300", transport="tcp", headers=[("X", "x" * 50_000)]).invite(0)

    def talk() -> None:
        with (
            socket.create_server((PROXY.partition(":")[0], 5060)) as server,
            socket.create_connection(server.getsockname()) as caller,
        ):
            caller.sendall(packet.payload)
            accepted, _ = server.accept()
            with accepted:
                left = len(packet.payload)
                while left:
                    left -= len(accepted.recv(65_536))

    client = await heard(service)
    service.network.inside(talk)
    frames = [frame for _ in range(3) for frame in await client.take(1_000, 1)]
    assert max(len(frame.data) for frame in frames) > 16_000
    dissector = Dissector()
    [heard_whole] = [one for frame in frames for one in dissector.feed(frame.at_us, frame.link_type, frame.data)]
    assert (heard_whole.transport, heard_whole.payload) == ("tcp", packet.payload)
    await client.close()


async def test_one_agent_at_a_time(service: Service) -> None:
    client = await heard(service)
    assert (await _trouble(service)).code == "capture_socket_taken"
    await client.close()


def test_one_service_at_a_time(service: Service) -> None:
    command = [sys.executable, "-m", "agent.cli", "capture", "--config", str(service.folder / "pegcount.toml")]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (second.returncode, "a capture service answers" in second.stderr) == (69, True)


def test_a_socket_that_cannot_be_made_ends_it_with_the_reason(service: Service) -> None:
    path = service.folder / "pegcount.toml"
    path.write_text(path.read_text().replace("capture.sock", "none/capture.sock"))
    command = [sys.executable, "-m", "agent.cli", "capture", "--config", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 78
    assert "cannot make the socket" in ended.stderr


def test_which_source_it_is_for_must_be_clear(service: Service) -> None:
    command = [sys.executable, "-m", "agent.cli", "capture", "--config", str(service.folder / "pegcount.toml"), "other"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 78
    assert "has no live source other of engine afpacket; there is: live" in ended.stderr


def test_it_ends_clean_and_leaves_no_socket(service: Service) -> None:
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(10) == 0
    assert not Path(service.config.capture_socket).exists()


async def test_a_socket_that_a_killed_service_left_is_taken_over(service: Service) -> None:
    service.kill()
    assert Path(service.config.capture_socket).exists()
    service.start()
    await (await heard(service)).close()


async def test_without_the_capability_the_cause_is_told(tmp_path: Path, network: Network) -> None:
    service = Service(tmp_path, network)
    service.kill(signal.SIGTERM)
    service.start("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    told = await _trouble(service)
    assert told.code == "capture_no_capability"
    assert isinstance(told, SourceMisconfigured)
    service.kill(signal.SIGTERM)


async def test_no_more_than_the_capability_is_needed(tmp_path: Path, network: Network) -> None:
    tmp_path.chmod(0o777)
    service = Service(tmp_path, network)
    service.kill(signal.SIGTERM)
    for parent in [tmp_path, *tmp_path.parents][:-1]:
        parent.chmod(parent.stat().st_mode | 0o055)
    only = "--bounding-set=-all,+net_raw", "--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw"
    service.start("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", *only)
    client = await heard(service)
    service.send(TALK)
    assert len(await taken(client, 7)) == 7
    await client.close()
    service.kill(signal.SIGTERM)


async def test_another_user_gets_nothing(service: Service) -> None:
    Path(service.config.capture_socket).chmod(0o666)
    for parent in [service.folder, *service.folder.parents][:-1]:
        parent.chmod(parent.stat().st_mode | 0o055)
    script = (
        "import asyncio, sys\nfrom collectors.sip.live.client import CaptureClient\n"
        "from collectors.contract import SourceError\n"
        "try:\n    asyncio.run(CaptureClient(sys.argv[1]).open(None))\n"
        "except SourceError as error:\n    print(error.code)"
    )
    code = await asyncio.to_thread(
        lambda: subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", script, service.config.capture_socket],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).resolve().parents[4],
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    )
    assert code.stdout == "capture_peer_refused\n", code.stderr


async def test_where_no_service_is_the_agent_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable) as told:
        await CaptureClient(str(tmp_path / "none.sock")).open(None)
    assert told.value.code == "capture_service_absent"
    assert "systemctl enable --now pegcount-capture" in told.value.hint


async def test_many_calls_come_in_order_and_are_the_same_as_from_a_file(service: Service) -> None:
    calls = in_order(*(Exchange(f"m{n}", PHONE, PROXY, str(100 + n), "300").talk(n, n + 1, n + 2) for n in range(200)))
    client = await heard(service)
    service.send(calls)
    frames = await taken(client, len(calls))
    assert payloads(frames) == [packet.payload for packet in calls]
    await client.close()
    path = service.folder / "heard.pcap"
    path.write_bytes(pcap([(frame.at_us, frame.data) for frame in frames]))
    assert KIND.read is not None
    batches = list(KIND.read(path, KIND.config()))
    tracker = Tracker()
    stream = LiveStream(Dissector(), tracker)
    stream.feed(frames)
    tracker.finish(frames[-1].at_us)
    records, _ = stream.drain()
    assert [record for batch in batches for record in batch.records] == records
    assert len(records) == 200
