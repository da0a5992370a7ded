"""Settings of the platform that speaks the contract, and its TLS."""

import shutil
import subprocess
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.uplink.platform import TOKEN, TOKENS, Clock, answers, line_to, receiver_at
from tests.uplink.site import MemoryOutbox
from uplink.destinations import PLATFORMS, PegcountHttp, PegcountSettings
from uplink.failures import failure
from uplink.line import CredentialsUnreadable, first_line
from uplink.problems import CATALOGUE
from uplink.receiver.serve import ReceiverSettings, serve
from uplink.session import Answer, Failure
from uplink.shipper import Pace, Shipper


def settings(**values: object) -> PegcountSettings:
    return msgspec.convert({"url": "https://meter.example.net", "token": "t", **values}, PegcountSettings)


def test_the_defaults_upload_each_quarter_of_an_hour() -> None:
    assert (settings().interval_s, settings().kind, settings().max_events) == (900, "pegcount", 1000)
    assert settings().kind in PLATFORMS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": "meter.example.net"}, "url"),
        ({"url": "ftp://meter.example.net"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://[2001:db8::1"}, "url"),
        ({"url": "https://meter.example.net/?a=1"}, "url"),
        ({"url": "http://meter.example.net"}, "https"),
        ({"token_file": "/etc/token"}, "token"),
        ({"token": "a\nb"}, "ASCII"),
        ({"interval_s": 0}, "interval_s"),
        ({"max_events": 1001}, "max_events"),
        ({"max_bytes": 10**9}, "max_bytes"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"jitter_s": -1}, "jitter_s"),
        ({"tokn": "x"}, "tokn"),
        ({"kind": "openmeter"}, "openmeter"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_with_what_is_wrong(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        settings(**wrong)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8470", "http://localhost:8470", "http://[::1]:8470"])
def test_this_machine_may_be_spoken_to_in_the_clear(url: str) -> None:
    assert settings(url=url).url == url


def test_a_token_comes_from_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    for content in (b"  a-secret \nnot this\n", b"a-secret", b"\xef\xbb\xbfa-secret\r\n"):
        path.write_bytes(content)
        assert first_line(str(path)) == "a-secret"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", "Schlüssel".encode()])
def test_a_token_file_without_a_token_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CredentialsUnreadable, match="token"):
        PegcountHttp(settings(token="", token_file=str(path)), "site-1")


def self_signed(folder: Path) -> tuple[str, str]:
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key, certificate


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
async def test_a_certificate_that_nobody_vouches_for_gets_no_token_and_no_event(tmp_path: Path) -> None:
    key, certificate = self_signed(tmp_path)
    running = await serve(
        ReceiverSettings(database=str(tmp_path / "r.db"), tokens=TOKENS, port=0, certificate=certificate, key=key)
    )
    outbox = MemoryOutbox()
    outbox.record(3)
    destination = PegcountHttp(settings(url=running.url, token=TOKEN), outbox.site)
    try:
        assert running.url.startswith("https://")
        report = await Shipper("platform", outbox, destination, Pace(), Clock()).upload()
        assert (report.problem, outbox.acked) == ("tls", 0)
    finally:
        await destination.close()
        await running.close()


async def test_a_redirect_carries_the_token_nowhere(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as thief, line_to(receiver) as line:
        line.faults = [answers("307 Temporary Redirect", b"", f"Location: {thief.url}/v1/sites/site-1/batches")]
        destination = PegcountHttp(settings(url=line.url, token=TOKEN), outbox.site)
        report = await Shipper("platform", outbox, destination, Pace(), Clock()).upload()
        await destination.close()
        assert report.problem == "redirected"
        assert thief.requests == []


async def test_a_proxy_that_wants_a_password_is_told(tmp_path: Path) -> None:
    outbox = MemoryOutbox()
    async with receiver_at(tmp_path) as receiver, line_to(receiver) as proxy:
        proxy.faults = [answers("407 Proxy Authentication Required")]
        destination = PegcountHttp(settings(url="https://meter.invalid", proxy=proxy.url), outbox.site)
        report = await Shipper("platform", outbox, destination, Pace(), Clock()).upload()
        await destination.close()
        assert report.problem == "proxy_auth"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TimeoutError(), "timeout"),
        (ConnectionRefusedError(111, "refused"), "refused"),
        (ConnectionResetError(104, "reset"), "reset"),
        (OSError(113, "no route"), "unreachable"),
        (OSError(101, "network unreachable"), "unreachable"),
        (aiohttp.ServerDisconnectedError(), "reset"),
        (aiohttp.ClientPayloadError(), "reset"),
        (aiohttp.ClientOSError(), "reset"),
        (aiohttp.ServerTimeoutError(), "timeout"),
        (aiohttp.InvalidURL("x"), "transport"),
        (OSError(5, "input/output"), "transport"),
    ],
    ids=repr,
)
def test_each_failure_of_the_line_has_its_problem(error: Exception, code: str) -> None:
    told = failure(error)
    assert isinstance(told, Failure)
    assert told.code == code
    assert told.code in CATALOGUE
    assert not isinstance(told, Answer)
