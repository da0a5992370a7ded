"""`pegcount receiver`: its options and its token file."""

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli.receiver import read_tokens, receiver
from tests.agent.cli.commands import SITE_ID, pegcount, running
from tests.uplink.receiver.jetstream import NatsServer
from uplink.batch import BatchLimits
from uplink.receiver.limits import Limits, Rate
from uplink.receiver.serve import ReceiverSettings


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text("one-token\n")
    return file


def test_it_prints_its_address_and_stops_by_sigterm(tmp_path: Path, tokens: Path) -> None:
    store = tmp_path / "receiver.db"
    with running("receiver", "--listen", "127.0.0.1:0", "--store", store, "--token-file", tokens) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.removeprefix("receiving at ").strip()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/v1/sites/{SITE_ID}/batches", data=b"[]", timeout=5)
    assert process.returncode == 0
    assert store.exists()


def test_a_line_is_a_token_and_perhaps_its_site(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    # printf abc | sha256sum; printf secret | sha256sum
    hashed = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    file.write_text(f"# agents\nabc\n\nsha256:{hashed} {SITE_ID}\n")
    assert dict(read_tokens(file).write) == {
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad": "*",
        hashed: SITE_ID,
    }


def test_a_wrong_line_is_named_without_the_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("good\nsecret site and-more\n")
    with pytest.raises(ValueError, match=r"tokens:2: ") as caught:
        read_tokens(file)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "# none\n"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokens").write_text(content)
    done = pegcount("receiver", "--store", tmp_path / "r.db", "--token-file", tmp_path / "tokens")
    assert done.status == 78
    assert "no token" in done.err


def test_other_machines_are_served_only_with_tls(tmp_path: Path, tokens: Path) -> None:
    store = tmp_path / "r.db"
    done = pegcount("receiver", "--listen", "0.0.0.0:0", "--store", store, "--token-file", tokens)
    assert (done.status, done.out) == (78, "")
    assert not store.exists()


def test_a_taken_address_is_told(tmp_path: Path, tokens: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        done = pegcount("receiver", "--listen", listen, "--store", tmp_path / "r.db", "--token-file", tokens)
    assert done.status == 69
    assert listen in done.err


def test_a_port_that_is_taken_is_told_in_words(tmp_path: Path, tokens: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = f"127.0.0.1:{other.getsockname()[1]}"
        done = pegcount("receiver", "--listen", place, "--store", tmp_path / "r.db", "--token-file", tokens)
    assert done.status == 69
    assert done.err == f"pegcount receiver: cannot listen at {place}: Address already in use\n"


def test_a_certificate_that_cannot_be_used_is_an_option_that_is_wrong(tmp_path: Path, tokens: Path) -> None:
    common = ("receiver", "--store", tmp_path / "r.db", "--token-file", tokens)
    gone = pegcount(*common, "--certificate", tmp_path / "none.pem", "--key", tokens)
    assert (gone.status, gone.err) == (78, f"pegcount receiver: {tmp_path}/none.pem: No such file or directory\n")
    no_pem = pegcount(*common, "--certificate", tokens, "--key", tokens)
    assert no_pem.status == 78
    assert "are no certificate and its key in PEM" in no_pem.err
    assert not (tmp_path / "r.db").exists()


def test_a_log_is_booked_until_sigterm(tmp_path: Path) -> None:
    with (
        NatsServer() as nats,
        running("receiver", "--consume", nats.url, "--into", tmp_path / "books.db") as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "booking\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    "options", [(), ("--store", "r.db", "--consume", "nats://h"), ("--consume", "nats://h")], ids=str
)
def test_it_receives_or_books_and_not_both(options: tuple[str, ...]) -> None:
    done = pegcount("receiver", *options)
    assert done.status == 2
    assert "--consume and --into" in done.err


def settings_of(monkeypatch: pytest.MonkeyPatch, *options: str, **environment: str) -> ReceiverSettings:
    """What a receiver would be run with."""
    seen: list[ReceiverSettings] = []

    async def note(settings: ReceiverSettings) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr("agent.cli.receiver._run", note)
    done = CliRunner().invoke(receiver, ["--store", "r.db", *options], env=environment)
    assert done.exit_code == 0, done.output
    return seen[0]


def test_without_options_the_limits_are_those_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch)
    assert (settings.limits, settings.proxies) == (Limits(), ())


def test_limits_are_options(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "--max-body 200000 --max-inflated 1000000 --max-events 100 --max-held 64 --site-rate 0.5:3 --address-rate 20"
        " --max-connections 10 --max-connections-per-address 2 --head-timeout 5 --body-timeout 30 --stalled-timeout 7"
    )
    assert settings_of(monkeypatch, *text.split()).limits == Limits(
        body_max_bytes=200_000,
        batch=BatchLimits(events=100, raw_bytes=1_000_000),
        held_max_bytes=67_108_864,
        site_rate=Rate(0.5, 3),
        address_rate=Rate(20, 100),
        connections_max=10,
        connections_per_address=2,
        head_timeout_s=5,
        body_timeout_s=30,
        stalled_timeout_s=7,
    )


def test_options_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(
        monkeypatch, PEGCOUNT_RECEIVER_MAX_EVENTS="7", PEGCOUNT_RECEIVER_PROXY="10.0.0.0/8 192.0.2.1"
    )
    assert (settings.limits.batch.events, settings.proxies) == (7, ("10.0.0.0/8", "192.0.2.1"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-events", "1001"), "1<=x<=1000"),
        (("--max-body", "100"), "131072"),
        (("--site-rate", "0"), "100:500"),
        (("--address-rate", "many"), "100:500"),
        (("--head-timeout", "0"), "1"),
    ],
)
def test_a_limit_beyond_what_can_be_is_refused(options: tuple[str, ...], said: str) -> None:
    done = pegcount("receiver", "--store", "r.db", *options)
    assert done.status == 2
    assert said in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--proxy", "proxy.example.net"), "does not appear to be an IPv4 or IPv6 network"),
        (("--listen", "0.0.0.0:0", "--behind-proxy"), "the proxy in front of it"),
    ],
)
def test_a_proxy_that_nobody_could_believe_is_refused(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    done = pegcount("receiver", "--store", tmp_path / "r.db", *options)
    assert (done.status, done.out) == (78, "")
    assert said in done.err
