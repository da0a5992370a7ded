"""A load on the loopback of an empty network namespace, and what service and agent made of it.

Run by benchmarks/live.py as `unshare -n python -m benchmarks.live_load FOLDER KIND RATE SECONDS`; prints what was counted as
one JSON object. The service and the agent are the ones that a site runs: `pegcount capture`, and `pegcount run` with its
ledger on the disk. Frames go out by a packet socket, so that nobody but the capture takes notice of them.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import python
from benchmarks.sip_traffic import PBX, SESSION_PORT, Dialog, generate, phone_address, udp_frame
from collectors.net.frames import frames

Frames = Iterator[bytes]

CONFIG = """
[site]
id = "018f2f6c-0000-7000-8000-00000000be7c"
provider = "msp"
[ledger]
path = "{folder}/ledger.db"
[[source]]
name = "live"
kind = "sip"
interface = "lo"
capture_socket = "{folder}/capture.sock"
media = "{media}"
"""
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
CALLS = 200
PACKET_MS = 20
LOST = ("kernel_drops", "frames_lost")
SETTLE_S = 60
"""How long the agent may take after the last frame to have read them all."""


def main() -> None:
    folder, kind, rate, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    _loopback_up()
    before, load, expected = _sip(folder, rate, seconds) if kind == "sip" else _rtp(seconds)
    (folder / "pegcount.toml").write_text(CONFIG.format(folder=folder, media="off" if kind == "sip" else "rtp"))
    log = (folder / "log").open("wb")
    command = [python(), "-m", "agent.cli"]
    service = subprocess.Popen([*command, "capture", "--config", str(folder / "pegcount.toml")], stderr=log)
    agent = subprocess.Popen([*command, "run", "--config", str(folder / "pegcount.toml")], stderr=log)
    try:
        _until(lambda: "frames from" in str(_source().get("detail")))
        _send(iter(before), 2_000)
        cpu_s = [_cpu_s(one.pid) for one in (service, agent)]
        started = time.perf_counter()
        sent = _send(load, rate)
        took_s = time.perf_counter() - started
        _until(lambda: _counters("packets", *LOST) >= len(before) + sent)
        _until(lambda: _counters("calls") >= expected or _counters(*LOST))
        cpu_s = [_cpu_s(one.pid) - was for one, was in zip((service, agent), cpu_s, strict=True)]
        told = {
            "sent": sent,
            "took_s": took_s,
            "expected": expected,
            "counters": _source()["counters"],
            "cpu_s": cpu_s,
            "rss_bytes": [_rss_bytes(one.pid) for one in (service, agent)],
        }
    finally:
        for one in (agent, service):
            one.terminate()
            one.wait()
    print(json.dumps(told))


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def _sip(folder: Path, rate: int, seconds: float) -> tuple[list[bytes], Frames, int]:
    """An office's traffic in its order, as fast as it is asked for, and the number of its calls. Each packet gets an IP
    identification: a phone that rings twice within the time would else send the same packet twice."""
    path = folder / "office.pcap"
    expected = generate(path, round(rate * seconds))
    found = enumerate(frames(path.open("rb", buffering=0)))
    numbered = (frame[:18] + struct.pack(">H", place & 0xFFFF) + frame[20:] for place, (_, _, frame) in found)
    return [], numbered, expected.calls


def _rtp(seconds: float) -> tuple[list[bytes], Frames, int]:
    """CALLS calls are set up; then each end sends G.711 in packets of 20 ms."""
    dialogs = [Dialog(index * 2, index, CALLS + index) for index in range(CALLS)]
    setup = [
        frame
        for one in dialogs
        for frame in (
            udp_frame(one.phone, 5060, PBX, 5060, one.invite().encode()),
            udp_frame(PBX, 5060, one.phone, 5060, one.answer("200 OK", "INVITE", sdp=True).encode()),
            udp_frame(one.phone, 5060, PBX, 5060, one.request("ACK", "ack").encode()),
        )
    ]
    heads = []
    for index in range(CALLS):
        ends = (phone_address(index), SESSION_PORT + index * 4), (PBX, SESSION_PORT + index * 4 + 2)
        for (src, source), (dst, target) in (ends, ends[::-1]):
            heads.append(udp_frame(src, source, dst, target, bytes(12 + 160))[:42])
    return setup, _speech(heads, round(seconds * 1000 / PACKET_MS)), 0


def _speech(heads: list[bytes], turns: int) -> Frames:
    speech = bytes(range(160))
    for turn in range(turns):
        for number, head in enumerate(heads):
            yield head + struct.pack(">BBHII", 0x80, 0, turn & 0xFFFF, turn * 160, number + 1) + speech


def _send(load: Frames, rate: int) -> int:
    """So many a second, in bursts of a millisecond's."""
    sent, started = 0, time.perf_counter()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("lo", 0))
        for frame in load:
            out.send(frame)
            sent += 1
            if sent % max(1, rate // 1000) == 0:
                ahead_s = sent / rate - (time.perf_counter() - started)
                if ahead_s > 0:
                    time.sleep(ahead_s)
    return sent


def _source() -> dict[str, object]:
    try:
        with urllib.request.urlopen("http://127.0.0.1:8042/api/status", timeout=30) as answer:
            return json.load(answer)["sources"][0]
    except OSError:
        return {}


def _counters(*names: str) -> int:
    counters = _source().get("counters", {})
    assert isinstance(counters, dict)
    return sum(counters.get(name, 0) for name in names)


def _until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + SETTLE_S
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit("it did not come to pass")
        time.sleep(0.5)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


if __name__ == "__main__":
    main()
