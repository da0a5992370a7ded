"""Through a site's HTTP proxy, as Debian has it: TLS goes through by CONNECT, with the proxy's user and password."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.uplink.fault_proxy import Certificate, certificate
from tests.uplink.platform import TOKEN, TOKENS, receiver_at
from tests.uplink.site import MemoryOutbox
from uplink.destinations import PegcountHttp, PegcountSettings
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.shipper import Pace, Shipper

USER, PASSWORD = "office", "open-sesame"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@asynccontextmanager
async def tinyproxy(folder: Path, *more: str) -> AsyncIterator[tuple[str, Path]]:
    """Its address, and its log."""
    if shutil.which("tinyproxy") is None:
        pytest.skip("needs tinyproxy")
    port, log = free_port(), folder / "tinyproxy.log"
    (folder / "tinyproxy.conf").write_text(
        f'Port {port}\nListen 127.0.0.1\nTimeout 60\nLogFile "{log}"\nLogLevel Info\nBasicAuth {USER} {PASSWORD}\n'
        + "\n".join(more)
    )
    process = await asyncio.create_subprocess_exec("tinyproxy", "-d", "-c", str(folder / "tinyproxy.conf"))
    try:
        for _ in range(250):
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}", log
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def platform(folder: Path) -> AsyncIterator[tuple[RunningReceiver, Certificate]]:
    good = certificate(folder, datetime.now(UTC) + timedelta(days=365))
    running = await serve(
        ReceiverSettings(
            database=str(folder / "r.db"), tokens=TOKENS, port=0, certificate=good.certificate, key=good.key
        )
    )
    try:
        yield running, good
    finally:
        await running.close()


@pytest.mark.parametrize(
    ("secret", "problem"),
    [(f"{USER}:{PASSWORD}", ""), (f"{USER}:wrong", "proxy_auth"), ("", "proxy_auth")],
    ids=["right", "wrong", "none"],
)
async def test_tls_goes_through_a_proxy_with_its_password_and_without_it_is_told(
    tmp_path: Path, secret: str, problem: str
) -> None:
    auth = tmp_path / "proxy-auth"
    auth.write_text(secret + "\n")
    outbox = MemoryOutbox()
    outbox.record(250)
    async with tinyproxy(tmp_path) as (proxy, log), platform(tmp_path) as (running, good):
        destination = PegcountHttp(
            PegcountSettings(
                url=running.url.replace("127.0.0.1", "localhost"),
                token=TOKEN,
                ca_file=good.certificate,
                proxy=proxy,
                proxy_auth_file=str(auth) if secret else "",
            ),
            outbox.site,
        )
        report = await Shipper("platform", outbox, destination, Pace(max_events=100)).upload()
        await destination.close()
        assert (report.problem, report.acked) == (problem, 0 if problem else 250)
        seen = log.read_text()
        assert "CONNECT localhost" in seen
        assert TOKEN not in seen


async def test_without_tls_the_proxy_gets_its_password_with_each_request(tmp_path: Path) -> None:
    auth = tmp_path / "proxy-auth"
    auth.write_text(f"{USER}:{PASSWORD}\n")
    outbox = MemoryOutbox()
    outbox.record(250)
    async with tinyproxy(tmp_path) as (proxy, _), receiver_at(tmp_path) as running:
        settings = PegcountSettings(url=running.url, token=TOKEN, proxy=proxy, proxy_auth_file=str(auth))
        destination = PegcountHttp(settings, outbox.site)
        report = await Shipper("platform", outbox, destination, Pace(max_events=100)).upload()
        await destination.close()
    assert (report.problem, report.acked) == ("", 250)


@pytest.mark.parametrize(
    ("port", "problem"), [(1, "proxy_refused"), (0, "unreachable")], ids=["refuses", "fails itself"]
)
async def test_a_proxy_that_does_not_get_or_let_us_through_is_not_taken_for_the_platform(
    tmp_path: Path, port: int, problem: str
) -> None:
    """It permits port 1 only; where it may try, nothing listens there."""
    auth, there = tmp_path / "proxy-auth", free_port()
    auth.write_text(f"{USER}:{PASSWORD}\n")
    outbox = MemoryOutbox()
    async with tinyproxy(tmp_path, f"ConnectPort {port or there}\n") as (proxy, _):
        destination = PegcountHttp(
            PegcountSettings(
                url=f"https://127.0.0.1:{there}", token=TOKEN, proxy=proxy, proxy_auth_file=str(auth), timeout_s=10
            ),
            outbox.site,
        )
        report = await Shipper("platform", outbox, destination, Pace()).upload()
        await destination.close()
        assert report.problem == problem


async def test_a_proxy_that_is_down_is_told(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    destination = PegcountHttp(
        PegcountSettings(url="https://platform.invalid", token=TOKEN, proxy=f"http://127.0.0.1:{free_port()}"), "site-1"
    )
    report = await Shipper("platform", outbox, destination, Pace()).upload()
    await destination.close()
    assert report.problem == "refused"
