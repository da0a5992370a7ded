"""Who a destination `kafka` is to its brokers: SASL, TLS and certificates of librdkafka, on the way to its mock cluster."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.uplink.authority import Authority
from tests.uplink.destinations import test_kafka
from tests.uplink.destinations.kafka_guard import PASSWORD, USER, Doors
from tests.uplink.destinations.test_kafka import forwarding, held_ids
from tests.uplink.feed import MemoryFeed
from uplink.destinations import TAKERS
from uplink.destinations.kafka import KafkaSettings
from uplink.line import CredentialsUnreadable

brokers = test_kafka.brokers


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def trust(authority: Authority) -> Iterator[ssl.SSLContext]:
    """Of the doors."""
    served = authority.issue("broker")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served.certificate, served.key)
    return context


def recorded(count: int) -> MemoryFeed:
    feed = MemoryFeed()
    feed.record(count)
    return feed


def login(folder: Path, password: str, mechanism: str) -> dict[str, str]:
    file = folder / "password"
    file.write_text(f"{password}\n")
    return {"user": USER, "password_file": str(file), "mechanism": mechanism}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_who_has_the_password_comes_in_by_tls_and_nobody_else(
    brokers: str, authority: Authority, trust: ssl.SSLContext, tmp_path: Path, mechanism: str
) -> None:
    feed, doors = recorded(50), Doors(brokers, trust, mechanism)
    tls = {"tls": True, "ca_file": str(authority.ca_file)}
    async with doors.open() as there:
        async with forwarding(there, feed, timeout_s=2.0, **tls, **login(tmp_path, "guessed", mechanism)) as loop:
            assert (await loop.upload()).problem == "unauthorized"
        assert feed.through == 0
        async with forwarding(there, feed, **tls, **login(tmp_path, PASSWORD, mechanism)) as loop:
            assert (await loop.upload()).problem == ""
    assert held_ids(brokers) == feed.ids()
    assert (PASSWORD.encode() in doors.heard) == (mechanism == "PLAIN")


async def test_both_ends_show_certificates_of_an_authority_that_the_other_knows(
    brokers: str, authority: Authority, trust: ssl.SSLContext, tmp_path: Path
) -> None:
    others = Authority(tmp_path, "others")
    ours, theirs = authority.issue("client"), others.issue("stranger")
    trust.verify_mode = ssl.CERT_REQUIRED
    trust.load_verify_locations(authority.ca_file)
    feed, ca = recorded(50), {"tls": True, "ca_file": str(authority.ca_file)}
    own = {"certificate": str(ours.certificate), "key_file": str(ours.key)}
    stranger = {"certificate": str(theirs.certificate), "key_file": str(theirs.key)}
    async with Doors(brokers, trust).open() as there:
        async with forwarding(there, feed, timeout_s=2.0, **own, tls=True, ca_file=str(others.ca_file)) as loop:
            assert (await loop.upload()).problem == "tls"
        async with forwarding(there, feed, timeout_s=1.0, **ca, **stranger) as loop:
            # The broker goes away without a word that librdkafka would pass on.
            assert (await loop.upload()).problem in ("tls", "unreachable", "timeout")
        assert feed.through == 0
        async with forwarding(there, feed, **ca, **own) as loop:
            assert (await loop.upload()).problem == ""
    assert held_ids(brokers) == feed.ids()


@pytest.mark.parametrize(
    "wrong",
    [{"certificate": "/c"}, {"certificate": "/c", "key_file": "/k"}, {"ca_file": "/a"}, {"mechanism": "GSSAPI"}],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"brokers": "host:9092", "topic": "t", **wrong}, KafkaSettings)


def test_files_that_cannot_be_used_are_told_at_the_start(tmp_path: Path) -> None:
    for wrong in (
        {"tls": True, "ca_file": f"{tmp_path}/none"},
        {"tls": True, "certificate": f"{tmp_path}/none", "key_file": f"{tmp_path}/none"},
        {"user": "u", "password_file": f"{tmp_path}/none"},
    ):
        with pytest.raises(CredentialsUnreadable, match="none"):
            TAKERS["kafka"].open(
                msgspec.convert({"brokers": "host:9092", "topic": "t", **wrong}, KafkaSettings), "site-1"
            )
