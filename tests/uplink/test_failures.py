"""What a line that fails tells a technician: which host, and what happened there, in words of the network's."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.uplink.authority import Authority, Issued
from tests.uplink.platform import TOKENS
from uplink.line import CredentialsUnreadable, HttpLine, LineSettings
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.session import Failure


def line_to(url: str, **settings: str) -> HttpLine:
    return HttpLine(msgspec.convert({"url": url, **settings}, LineSettings))


async def failure_of(url: str, **settings: str) -> Failure:
    line = line_to(url, **settings)
    try:
        failure = await line.post(url, b"", {})
    finally:
        await line.close()
    assert isinstance(failure, Failure)
    return failure


def port_of(receiver: RunningReceiver) -> int | None:
    return urlsplit(receiver.url).port


@pytest.fixture
def shown(tmp_path: Path) -> Issued:
    return Authority(tmp_path, "nobody").issue("server")


@pytest.fixture
async def receiver(tmp_path: Path, shown: Issued) -> AsyncIterator[RunningReceiver]:
    files = {"certificate": str(shown.certificate), "key": str(shown.key)}
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=TOKENS, port=0, **files))
    yield running
    await running.close()


async def test_a_certificate_that_is_not_the_pinned_one_is_told_as_it_would_be_pinned(
    receiver: RunningReceiver, shown: Issued
) -> None:
    failure = await failure_of(receiver.url, pin="ab" * 32)
    said = f"127.0.0.1:{port_of(receiver)} showed a certificate with the SHA-256 {shown.sha256}"
    assert (failure.code, failure.detail) == ("tls", said)


async def test_a_certificate_that_nobody_vouches_for_is_told_by_openssls_reason(receiver: RunningReceiver) -> None:
    failure = await failure_of(receiver.url)
    said = f"127.0.0.1:{port_of(receiver)}: the certificate is refused: unable to get local issuer certificate"
    assert (failure.code, failure.detail) == ("tls", said)


async def test_a_port_that_refuses_and_a_name_that_is_none_are_told_by_the_systems_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        failure = await failure_of(f"http://127.0.0.1:{port}")
    assert (failure.code, failure.detail) == ("refused", f"127.0.0.1:{port}: Connection refused")
    failure = await failure_of("https://meter.invalid")
    assert (failure.code, "meter.invalid:443: " in failure.detail) == ("dns", True)


async def test_a_port_without_tls_is_told(tmp_path: Path) -> None:
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=TOKENS, port=0))
    try:
        failure = await failure_of(running.url.replace("http:", "https:"))
        assert failure.code in ("tls", "reset")
        assert "object at" not in failure.detail
    finally:
        await running.close()


@pytest.mark.parametrize("wrong", ["ca_file", "certificate", "key_file"])
async def test_of_several_files_the_one_that_cannot_be_read_is_named(tmp_path: Path, shown: Issued, wrong: str) -> None:
    files = {"certificate": str(shown.certificate), "key_file": str(shown.key)} | {wrong: str(tmp_path / "missing")}
    with pytest.raises(CredentialsUnreadable, match=r"/missing: No such file"):
        line_to("https://127.0.0.1", **files)
    (tmp_path / "missing").write_text("no PEM")
    with pytest.raises(CredentialsUnreadable, match=r"/missing.*: not the PEM"):
        line_to("https://127.0.0.1", **files)
