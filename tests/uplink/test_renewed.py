"""Certificates and tokens that are renewed while the agent runs."""

from pathlib import Path

import msgspec
import pytest

from tests.uplink.authority import Authority
from tests.uplink.enrolled import SITE, enrolled_shipping, platform_at
from tests.uplink.site import MemoryOutbox
from uplink.receiver.access import CERTIFICATE, Certified
from uplink.receiver.tokens import Tokens, token_hash
from uplink.renewed import CredentialsUnreadable, Renewed


def replace(file: Path, content: bytes) -> None:
    aside = file.with_name(file.name + ".new")
    aside.write_bytes(content)
    aside.replace(file)


def test_it_is_made_anew_when_a_file_is_another_one_and_only_then(tmp_path: Path) -> None:
    file, made = tmp_path / "f", []
    file.write_text("1")

    def make() -> str:
        made.append(file.read_text())
        if made[-1] == "bad":
            raise CredentialsUnreadable("bad")
        return made[-1]

    one = Renewed([str(file), ""], make)
    assert (one.current(), one.current(), made) == ("1", "1", ["1"])
    replace(file, b"bad")
    assert (one.current(), one.current()) == ("1", "1")
    replace(file, b"2")
    assert (one.current(), one.current(), made) == ("2", "2", ["1", "bad", "bad", "2"])
    link = tmp_path / "link"
    link.symlink_to(file)
    other = Renewed([str(link)], lambda: link.read_text())
    (tmp_path / "g").write_text("3")
    link.unlink()
    link.symlink_to(tmp_path / "g")
    assert other.current() == "3"


def test_what_cannot_be_made_at_first_is_told(tmp_path: Path) -> None:
    def make() -> str:
        raise CredentialsUnreadable("no")

    with pytest.raises(CredentialsUnreadable):
        Renewed([str(tmp_path / "missing")], make)


async def test_a_certificate_that_is_renewed_is_shown_without_a_restart(tmp_path: Path) -> None:
    """Certificate and key are two files: in between they do not fit, and the old ones go on."""
    authority = Authority(tmp_path)
    server, old, new = authority.issue("server"), authority.issue("old"), authority.issue("new")
    tls = {"certificate": str(server.certificate), "key": str(server.key), "client_ca": str(authority.ca_file)}
    shown = {"certificate": str(tmp_path / "own.pem"), "key_file": str(tmp_path / "own-key.pem")}
    replace(tmp_path / "own.pem", old.certificate.read_bytes())
    replace(tmp_path / "own-key.pem", old.key.read_bytes())
    outbox, line = MemoryOutbox(SITE), {"ca_file": str(authority.ca_file), "auth": "certificate", **shown}
    async with platform_at(tmp_path, **tls) as receiver:
        for each in (old, new):
            await receiver.store.put(CERTIFICATE, each.sha256, msgspec.json.encode(Certified(site=SITE)))
        async with enrolled_shipping(outbox, receiver.url, tmp_path / "identity", **line) as shipper:
            assert (await shipper.upload()).problem == ""
            replace(tmp_path / "own.pem", new.certificate.read_bytes())
            assert (await shipper.upload()).problem == ""
            replace(tmp_path / "own-key.pem", new.key.read_bytes())
            revoked = Certified(site=SITE, revoked_ms=1)
            await receiver.store.put(CERTIFICATE, old.sha256, msgspec.json.encode(revoked))
            outbox.record()
            assert (await shipper.upload()).problem == ""
    assert outbox.acked == 1


async def test_a_token_that_is_renewed_is_taken_without_a_restart(tmp_path: Path) -> None:
    file, outbox = tmp_path / "token", MemoryOutbox(SITE)
    file.write_text("old\n")
    tokens = Tokens(write={token_hash("new"): "*"})
    async with (
        platform_at(tmp_path, tokens=tokens) as receiver,
        enrolled_shipping(outbox, receiver.url, tmp_path / "identity", token_file=str(file)) as shipper,
    ):
        outbox.record()
        assert (await shipper.upload()).problem == "unauthorized"
        replace(file, b"\n")
        assert (await shipper.upload()).problem == "unauthorized"
        replace(file, b"new\n")
        assert (await shipper.upload()).problem == ""
    assert outbox.acked == 1
