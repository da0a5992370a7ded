"""dumpcap as a source: what it captures comes whole and once, whatever ends meanwhile; why it cannot is told by its cause."""

import asyncio
import ctypes
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest

from collectors.contract import Context, SourceError
from collectors.sip.kind import KIND, SipConfig
from collectors.sip.live import ring
from collectors.sip.live.dumpcap import WORDS, Dumpcap
from collectors.sip.live.pcap_filter import pcap_filter
from collectors.sip.live.ring import DumpcapSource
from collectors.sip.live.source import Frame
from collectors.sip.packets import SipPacket
from tests.collectors.sip.flows import PBX, Exchange, ethernet, frame_of, in_order, pcap, phone
from tests.collectors.sip.live.memory import Kept
from tests.collectors.sip.live.namespace import link, own_network, play

pytestmark = [
    pytest.mark.skipif(shutil.which("dumpcap") is None, reason="needs dumpcap (Debian: wireshark-common)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a network of its own"),
]

PACKETS = in_order(*(Exchange(f"c{n}", phone(n), PBX, str(n), "300").talk(n, n + 1, n + 2) for n in range(20)))
PORTS = ((5060, 5061),)
PR_CAPBSET_DROP, CAP_NET_ADMIN, CAP_NET_RAW = 24, 12, 13


def expression(tagged: bool = True) -> str:
    return pcap_filter(PORTS, (), "off", (), tagged)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[None]:
    with own_network():
        yield
    Dumpcap(tmp_path).adopt()  # whatever a test that failed has left


def source(folder: Path, ring_mb: int = 16, interface: str = "lo") -> DumpcapSource:
    return DumpcapSource(folder, interface, expression, ring_mb)


def payloads(frames: list[Frame]) -> list[bytes]:
    """Of Ethernet, IPv4 and UDP."""
    return [frame.data[42:] for frame in frames]


async def taken(opened: DumpcapSource, count: int) -> list[Frame]:
    frames: list[Frame] = []
    async with asyncio.timeout(10):
        while len(frames) < count:
            frames += await opened.take(7, 0.3)
    return frames


def expected(packets: list[SipPacket]) -> list[bytes]:
    return [packet.payload for packet in packets]


@pytest.mark.parametrize("ring_mb", [0, 16], ids=["pipe", "ring"])
async def test_what_is_captured_comes_whole_and_in_order(ring_mb: int, network: None, tmp_path: Path) -> None:
    opened = source(tmp_path, ring_mb)
    await opened.open(None)
    play(PACKETS)
    assert payloads(await taken(opened, len(PACKETS))) == expected(PACKETS)
    assert await opened.take(100, 0.2) == ()
    await opened.close()
    assert opened.counters["kernel_drops"] == 0
    assert f"{len(PACKETS)}/0" in (tmp_path / WORDS).read_text()


async def test_a_ring_is_read_on_from_a_position_and_files_behind_it_go(
    network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "FILE_KB", 10)
    opened = source(tmp_path)
    await opened.open(None)
    play(PACKETS)
    first = await taken(opened, 50)
    position = opened.position
    await taken(opened, len(PACKETS) - len(first))
    before = len(list(tmp_path.glob("*.pcap")))
    await opened.release(position)
    assert 1 < len(list(tmp_path.glob("*.pcap"))) < before
    await opened.close()
    again = source(tmp_path)
    await again.open(position)
    rest = await taken(again, len(PACKETS) - len(first))
    assert payloads(first + rest) == expected(PACKETS)
    assert again.counters["ring_files_lost"] == 0
    await again.close()


async def test_an_agent_that_is_killed_finds_its_dumpcap_again_and_loses_nothing(network: None, tmp_path: Path) -> None:
    opened = source(tmp_path)
    await opened.open(None)
    play(PACKETS[:60])
    first = await taken(opened, 60)
    play(PACKETS[60:])  # the agent is gone: nobody closes the source
    again = source(tmp_path)
    await again.open(opened.position)
    assert again.counters["dumpcap_starts"] == 0
    assert payloads(first + await taken(again, len(PACKETS) - 60)) == expected(PACKETS)
    await again.close()
    assert not opened._dumpcap.runs
    opened._dumpcap.bury()


async def test_one_that_was_started_with_another_filter_is_ended_first(network: None, tmp_path: Path) -> None:
    opened = source(tmp_path)
    await opened.open(None)
    other = DumpcapSource(tmp_path, "lo", lambda tagged: "udp port 5080", 16)
    await other.open(opened.position)
    assert other.counters["dumpcap_starts"] == 1
    assert not opened._dumpcap.runs
    await other.close()
    opened._dumpcap.bury()


async def test_files_that_the_ring_overwrote_are_counted(
    network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "FILE_KB", 5)
    opened = DumpcapSource(tmp_path, "lo", expression, 1)
    opened._ring_files = 3
    await opened.open(None)
    play(PACKETS[:5])
    await taken(opened, 5)
    play(PACKETS[5:])
    await asyncio.sleep(0.5)
    rest = 0
    while frames := await opened.take(100, 0.3):
        rest += len(frames)
    assert 0 < rest < len(PACKETS) - 5
    assert opened.counters["ring_files_lost"] > 0
    await opened.close()


async def test_the_filter_takes_sip_on_any_port_further_fragments_and_no_other_datagrams(
    network: None, tmp_path: Path
) -> None:
    link("set lo mtu 576")
    opened = source(tmp_path)
    await opened.open(None)
    invite = Exchange("long", phone(1), PBX, "1", "2").invite(0, headers=[("X-Note", "n" * 900)])
    play([invite], port=7777)
    play([SipPacket(0, "udp", "", "", b"no SIP at all" * 3)], port=7777)
    play(PACKETS[:1])
    frames = await taken(opened, 3 + 1)
    assert b"".join(frame.data[34:] for frame in frames[:3])[8:].startswith(invite.payload[:900])
    assert frames[-1].data[42:].startswith(PACKETS[0].payload[:400])
    await opened.close()


@pytest.mark.parametrize("tags", [((0x8100, 100),), ((0x88A8, 200), (0x8100, 100))], ids=["VLAN", "QinQ"])
async def test_the_filter_takes_sip_behind_vlan_tags(
    tags: tuple[tuple[int, int], ...], network: None, tmp_path: Path
) -> None:
    link("add va type veth peer name vb")
    link("set va up")
    link("set vb up")
    opened = source(tmp_path, interface="va")
    await opened.open(None)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("vb", 0))
        wire.send(ethernet(frame_of(PACKETS[0])[14:], tags))
    [frame] = await taken(opened, 1)
    assert frame.data.endswith(PACKETS[0].payload)
    await opened.close()


@pytest.mark.parametrize("engine", ["dumpcap", "pyshark"])
async def test_calls_on_an_interface_are_counted_by_the_collector(
    engine: Literal["dumpcap", "pyshark"], network: None, tmp_path: Path
) -> None:
    collector = KIND.open(
        SipConfig(interface="lo", engine=engine), Context(name="office", folder=tmp_path, clock_ms=lambda: 0)
    )
    kept = Kept()
    running = asyncio.create_task(collector.run(kept, None))
    async with asyncio.timeout(10):
        while not collector.probe().counters["dumpcap_starts"]:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        play(PACKETS)
        while collector.probe().counters["messages"] < len(PACKETS):
            await asyncio.sleep(0.05)
    assert collector.probe().counters["packets"] == len(PACKETS)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_link_without_tags_is_captured_without_them(network: None, tmp_path: Path) -> None:
    opened = source(tmp_path, interface="any")
    await opened.open(None)
    play(PACKETS[:3])
    frames = await taken(opened, 3)
    assert [frame.data.endswith(packet.payload) for frame, packet in zip(frames, PACKETS, strict=False)] == [True] * 3
    assert opened.counters["dumpcap_starts"] == 2
    await opened.close()


async def test_runs_that_nobody_reads_take_no_more_disk_than_the_ring(network: None, tmp_path: Path) -> None:
    names = [f"00000{run}_{number:05d}_20260105090000.pcap" for run in (1, 2) for number in (1, 2, 3)]
    for name in names:
        (tmp_path / name).write_bytes(pcap([]))
    opened = source(tmp_path)
    opened._ring_files = 2
    await opened.open(None)
    assert opened.counters["ring_files_lost"] == 4
    assert [name for name in names if (tmp_path / name).exists()] == names[4:]
    await opened.close()


# --- why it cannot


async def refusal(folder: Path, interface: str = "lo") -> SourceError:
    opened = source(folder, interface=interface)
    with pytest.raises(SourceError) as caught:
        await opened.open(None)
    await opened.close()
    assert caught.value.hint
    return caught.value


async def test_no_such_interface_and_one_that_is_down_are_told_apart(tmp_path: Path) -> None:
    with own_network(up=False):
        assert (await refusal(tmp_path, "nosuch0")).code == "capture_no_interface"
        assert (await refusal(tmp_path)).code == "capture_interface_down"


async def test_an_interface_that_is_switched_off_or_vanishes_while_captured_is_told(
    network: None, tmp_path: Path
) -> None:
    link("add va type veth peer name vb")
    link("set vb up")
    for command, code in (("set va down", "capture_interface_down"), ("del va", "capture_no_interface")):
        link("set va up")
        opened = source(tmp_path, interface="va")
        await opened.open(None)
        link(command)
        with pytest.raises(SourceError) as caught:
            await taken(opened, 1_000)
        assert caught.value.code == code
        await opened.close()


def bounded(folder: Path, *capabilities: int) -> SourceError:
    """The refusal in a thread whose bounding set lacks these (capabilities(7)): so does whatever it starts."""

    def within() -> SourceError:
        for capability in capabilities:
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability)
        return asyncio.run(refusal(folder))

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(within).result()


def test_no_capability_is_told(network: None, tmp_path: Path) -> None:
    assert bounded(tmp_path, CAP_NET_RAW, CAP_NET_ADMIN).code == "capture_no_capability"


def test_a_dumpcap_with_capabilities_that_the_bounding_set_lacks_is_told(
    network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's setcap'ed dumpcap in a service without CAP_NET_ADMIN."""
    dumpcap = tmp_path / "dumpcap"
    shutil.copy(shutil.which("dumpcap") or "", dumpcap)
    subprocess.run(["setcap", "cap_net_raw,cap_net_admin=eip", str(dumpcap)], check=True)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert bounded(tmp_path / "ring", CAP_NET_ADMIN).code == "capture_dumpcap_bounded"


async def test_a_dumpcap_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (await refusal(tmp_path / "ring")).code == "capture_dumpcap_absent"


async def test_a_dumpcap_that_is_not_for_this_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's, once set up: for root and the group wireshark. Nobody may run a file that nobody may execute."""
    (tmp_path / "dumpcap").touch(mode=0o644)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (await refusal(tmp_path / "ring")).code == "capture_dumpcap_denied"


async def test_its_death_is_told_with_its_last_word(network: None, tmp_path: Path) -> None:
    opened = source(tmp_path)
    await opened.open(None)
    child = opened._dumpcap._child
    assert child
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(SourceError, match="dumpcap on lo") as caught:
        await taken(opened, 1)
    assert caught.value.code == "capture_failed"
    await opened.close()
